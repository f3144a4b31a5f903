import { ItemError } from './item-error.ts';

/** The cells of one record (RFC 4180), without its line end. Throws ItemError InvalidCsv. */
export function readRecord(text: string): string[] {
  const record = text.endsWith('\r') ? text.slice(0, -1) : text;
  if (!record.includes('"')) return record.split(',');
  const cells: string[] = [];
  let at = 0;
  for (;;) {
    const end = record[at] === '"' ? closingQuote(record, at, cells.length) + 1 : plainEnd(record, at);
    cells.push(record[at] === '"' ? record.slice(at + 1, end - 1).replaceAll('""', '"') : record.slice(at, end));
    if (end === record.length) return cells;
    if (record[end] !== ',') throw new ItemError('InvalidCsv', `cell ${cells.length}: expected a comma after the closing quote; quotes within quotes are doubled`);
    at = end + 1;
  }
}

function plainEnd(record: string, from: number): number {
  const comma = record.indexOf(',', from);
  return comma < 0 ? record.length : comma;
}

function closingQuote(record: string, from: number, before: number): number {
  for (let at = from + 1; ; at += 2) {
    at = record.indexOf('"', at);
    if (at < 0) throw new ItemError('InvalidCsv', `cell ${before + 1}: the quote at its start is never closed`);
    if (record[at + 1] !== '"') return at;
  }
}
