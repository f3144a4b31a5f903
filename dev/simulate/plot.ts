import type { Measures } from './measures.ts';

const WIDTH = 1_120;
const MARGIN = 56;
const GAP = 48;
const PLOT = { top: 116, height: 250 };
const USE = { top: 470, height: 190 };
const HEIGHT = 720;
/** Told apart also by who sees few colours, and by their dashes (Okabe and Ito). */
const STYLES = [['#0072b2', ''], ['#d55e00', '7 4'], ['#cc79a7', '2 3'], ['#555555', '10 3 2 3']] as const;

interface Frame {
  left: number;
  top: number;
  width: number;
  height: number;
}
/** Points in parts of the frame, 0 … 1 from its lower left. */
type Point = readonly [x: number, y: number];

/** Waits by class as cumulative distributions, and how much of the scarcest resource worked over time. */
export function plot(all: readonly Measures[], title: string): string {
  const classes = all[0]?.waits ?? [];
  const width = (WIDTH - 2 * MARGIN - (classes.length - 1) * GAP) / Math.max(1, classes.length);
  const longest = Math.max(60_000, ...all.flatMap(({ waits }) => waits.map(({ sorted }) => sorted.at(-1) ?? 0)));
  const panels = classes.flatMap(({ name, sorted }, index) => {
    const frame = { left: MARGIN + index * (width + GAP), top: PLOT.top, width, height: PLOT.height };
    return [
      heading(frame, `Wait of the ${sorted.length} jobs of ${name} priority`),
      axes(frame, waitTicks(longest), fifths, 'wait (log scale)', index === 0 ? 'part of the jobs' : ''),
      ...all.map(({ waits }, i) => curve(frame, distribution(waits[index]?.sorted ?? [], longest), i)),
    ];
  });
  const use = { left: MARGIN, top: USE.top, width: WIDTH - 2 * MARGIN, height: USE.height };
  const [first] = all;
  const windowMs = first ? first.overTime.everyMs * first.overTime.parts.length : 0;
  const lower = [
    heading(use, `Part of all ${first?.overTime.resource ?? ''} that worked`),
    axes(use, hourTicks(windowMs), fifths, 'time since the first job', ''),
    ...all.map(({ overTime: { parts } }, i) => curve(use, smooth(parts).map((part, at): Point => [(at + 0.5) / parts.length, part]), i)),
  ];
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${HEIGHT}" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="Helvetica, Arial, sans-serif" font-size="12" fill="#222">`,
    `<title>${escaped(title)}</title>`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#fff"/>`,
    label(MARGIN, 32, title, 'font-size="17" font-weight="bold"'),
    ...legend(all.map(({ policy }) => policy)),
    ...panels,
    ...lower,
    '</svg>',
    '',
  ].join('\n');
}

/** From 1 s on, by tens. */
const xOfWait = (ms: number, longest: number): number => Math.log10(Math.max(1_000, ms) / 1_000) / Math.log10(longest / 1_000);

function distribution(sorted: readonly number[], longest: number): Point[] {
  const steps = 200;
  if (sorted.length === 0) return [];
  const points = Array.from({ length: steps + 1 }, (_, step): Point => {
    const wait = step === 0 ? 1_000 : 1_000 * (longest / 1_000) ** (step / steps);
    return [step / steps, upTo(sorted, wait * (1 + 1e-9)) / sorted.length];
  });
  return points;
}

/** How many of the values are at most that. */
function upTo(sorted: readonly number[], value: number): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sorted[middle] as number) <= value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Means of five neighbours, so that the curves can be told apart. */
const smooth = (parts: readonly number[]): number[] => parts.map((_, at) => {
  const near = parts.slice(Math.max(0, at - 2), at + 3);
  return near.reduce((sum, part) => sum + part, 0) / near.length;
});

type Tick = readonly [at: number, text: string];
const fifths: readonly Tick[] = [0, 0.2, 0.4, 0.6, 0.8, 1].map((part) => [part, `${Math.round(part * 100)} %`]);

const waitTicks = (longest: number): Tick[] =>
  ([[1_000, '≤ 1 s'], [10_000, '10 s'], [60_000, '1 min'], [600_000, '10 min'], [3_600_000, '1 h'], [36_000_000, '10 h'], [360_000_000, '100 h']] as const)
    .filter(([ms]) => ms <= longest).map(([ms, text]) => [xOfWait(ms, longest), text]);

function hourTicks(lengthMs: number): Tick[] {
  const hours = lengthMs / 3_600_000;
  const every = [0.25, 0.5, 1, 2, 3, 6, 12, 24, 48, 168].find((step) => hours / step <= 14) ?? 720;
  return Array.from({ length: Math.floor(hours / every) + 1 }, (_, index) => [(index * every) / hours, `${index * every} h`]);
}

const heading = ({ left, top }: Frame, text: string): string => label(left, top - 14, text, 'font-size="13" font-weight="bold"');

function axes({ left, top, width, height }: Frame, across: readonly Tick[], up: readonly Tick[], below: string, beside: string): string {
  const lines = [
    ...up.flatMap(([part, text]) => {
      const y = round(top + height * (1 - part));
      return [`<line x1="${round(left)}" y1="${y}" x2="${round(left + width)}" y2="${y}" stroke="${part === 0 ? '#222' : '#ddd'}"/>`, label(left - 6, y + 4, text, 'text-anchor="end" font-size="11"')];
    }),
    ...across.flatMap(([part, text]) => {
      const x = round(left + width * part);
      return [`<line x1="${x}" y1="${round(top)}" x2="${x}" y2="${round(top + height)}" stroke="${part === 0 ? '#222' : '#eee'}"/>`, label(x, top + height + 16, text, 'text-anchor="middle" font-size="11"')];
    }),
    label(left + width / 2, top + height + 34, below, 'text-anchor="middle"'),
    ...(beside === '' ? [] : [`<text transform="translate(${round(left - 42)} ${round(top + height / 2)}) rotate(-90)" text-anchor="middle">${escaped(beside)}</text>`]),
  ];
  return lines.join('\n');
}

function curve({ left, top, width, height }: Frame, points: readonly Point[], index: number): string {
  const [color, dashes] = STYLES[index % STYLES.length] as (typeof STYLES)[number];
  const path = points.map(([x, y]) => `${round(left + width * x)},${round(top + height * (1 - Math.min(1, y)))}`).join(' ');
  return `<polyline points="${path}" fill="none" stroke="${color}" stroke-width="${index === 0 ? 2.5 : 1.7}"${dashes === '' ? '' : ` stroke-dasharray="${dashes}"`}/>`;
}

function legend(policies: readonly string[]): string[] {
  let x = MARGIN;
  return policies.map((policy, index) => {
    const [color, dashes] = STYLES[index % STYLES.length] as (typeof STYLES)[number];
    const mark = `<line x1="${x}" y1="60" x2="${x + 34}" y2="60" stroke="${color}" stroke-width="2.5"${dashes === '' ? '' : ` stroke-dasharray="${dashes}"`}/>\n${label(x + 42, 64, policy, '')}`;
    x += 42 + policy.length * 7 + 28;
    return mark;
  });
}

const label = (x: number, y: number, text: string, more: string): string => `<text x="${round(x)}" y="${round(y)}"${more === '' ? '' : ` ${more}`}>${escaped(text)}</text>`;
const escaped = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
const round = (value: number): number => Math.round(value * 10) / 10;
