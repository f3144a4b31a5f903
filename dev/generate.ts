// `npm run generate`: under dev/ so that it runs on the right Node from a fresh clone too.
import '../crds/generate.ts';
