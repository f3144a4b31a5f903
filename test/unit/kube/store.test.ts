import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { KubeObject, Stored } from '../../../operator/kube/object.ts';
import { keyOf } from '../../../operator/kube/object.ts';
import type { Change } from '../../../operator/kube/store.ts';
import { Store } from '../../../operator/kube/store.ts';

interface Thing extends KubeObject {
  color?: string;
}

const thing = (name: string, uid: string, version: number, color = 'red'): Stored<Thing> => ({
  apiVersion: 'v1',
  kind: 'Thing',
  metadata: { namespace: 'n', name, uid, resourceVersion: String(version) },
  color,
});

const byColor = { indexes: { color: (object: Thing) => (object.color === undefined ? [] : [object.color]) } };

/** A reader that knows only what the changes tell. */
function follow(seen: Map<string, Stored<Thing>>, changes: Change<Thing>[]): void {
  for (const change of changes) {
    const key = keyOf(change.object.metadata);
    const known = seen.get(key);
    if (change.type === 'add') expect(known, `${key} is added though it is there`).toBeUndefined();
    else expect(known?.metadata.uid, `${key} is not the one that was there`).toBe(change.object.metadata.uid);
    if (change.type === 'delete') seen.delete(key);
    else seen.set(key, change.object);
  }
}

describe('a store', () => {
  it('tells a successor of the same name as a delete and an add', () => {
    const store = new Store<Thing>();
    store.replace([thing('x', 'one', 1)]);
    const changes = store.replace([thing('x', 'two', 2)]);
    expect(changes.map(({ type, object }) => `${type} ${object.metadata.uid}`)).toEqual(['delete one', 'add two']);
  });

  it('ignores what it has already, and a late delete of an earlier UID', () => {
    const store = new Store<Thing>();
    store.replace([thing('x', 'two', 2)]);
    expect(store.replace([thing('x', 'two', 2)])).toEqual([]);
    expect(store.remove(thing('x', 'one', 1))).toEqual([]);
    expect(store.get('n/x')?.metadata.uid).toBe('two');
  });

  it('has synced only after a full list', () => {
    const store = new Store<Thing>();
    store.upsert(thing('x', 'one', 1));
    expect(store.hasSynced).toBe(false);
    store.replace([]);
    expect(store.hasSynced).toBe(true);
    expect(store.size).toBe(0);
  });

  it('shapes each object once, also one that was shaped as it came in', () => {
    // Not idempotent: applied twice, nothing would be left.
    const store = new Store<Thing>({ transform: ({ color = 'lost', ...rest }) => ({ ...rest, kind: color }) });
    store.replace([store.shape(thing('x', 'one', 1, 'red'))]);
    store.upsert(thing('y', 'two', 1, 'blue'));
    expect(store.list().map(({ kind }) => kind)).toEqual(['red', 'blue']);
    expect(store.remove(thing('y', 'two', 2, 'green'))).toMatchObject([{ type: 'delete', object: { kind: 'green' } }]);
  });

  it('says which index it has not', () => {
    expect(() => new Store<Thing>().byIndex('color', 'red')).toThrow('no index "color"');
  });

  it('equals the server, and so does everyone who follows its changes, whatever lists and events come', () => {
    const item = fc.record({
      name: fc.constantFrom('x', 'y', 'z'),
      uid: fc.constantFrom('1', '2'),
      color: fc.constantFrom('red', 'blue'),
    });
    const step = fc.oneof(
      fc.record({ do: fc.constant('replace' as const), items: fc.uniqueArray(item, { selector: ({ name }) => name }) }),
      fc.record({ do: fc.constant('upsert' as const), item }),
      fc.record({ do: fc.constant('remove' as const), item }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const store = new Store<Thing>(byColor);
        const truth = new Map<string, Stored<Thing>>();
        const seen = new Map<string, Stored<Thing>>();
        let version = 0;
        const make = ({ name, uid, color }: { name: string; uid: string; color: string }): Stored<Thing> =>
          thing(name, uid, ++version, color);
        for (const action of steps) {
          if (action.do === 'replace') {
            const items = action.items.map(make);
            truth.clear();
            for (const object of items) truth.set(keyOf(object.metadata), object);
            follow(seen, store.replace(items));
          } else {
            const object = make(action.item);
            const key = keyOf(object.metadata);
            if (action.do === 'upsert') {
              truth.set(key, object);
              follow(seen, store.upsert(object));
            } else {
              if (truth.get(key)?.metadata.uid === object.metadata.uid) truth.delete(key);
              follow(seen, store.remove(object));
            }
          }
          const expected = [...truth.values()]
            .map(({ metadata }) => `${metadata.uid} ${metadata.resourceVersion}`)
            .sort();
          const flat = (objects: Iterable<Stored<Thing>>): string[] =>
            [...objects].map(({ metadata }) => `${metadata.uid} ${metadata.resourceVersion}`).sort();
          expect(flat(store.values())).toEqual(expected);
          expect(flat(seen.values())).toEqual(expected);
          expect(flat([...store.byIndex('color', 'red'), ...store.byIndex('color', 'blue')])).toEqual(expected);
        }
      }),
    );
  });
});
