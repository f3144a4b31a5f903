/** A question for the address of `name`, as DNS carries it in a UDP datagram (RFC 1035), in base64. */
export function dnsQuery(name: string): string {
  const header = [0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
  const labels = name.split('.').flatMap((label) => [label.length, ...Buffer.from(label)]);
  return Buffer.from([...header, ...labels, 0, 0, 1, 0, 1]).toString('base64');
}

/** The same as it goes over TCP: with its length before it. */
export function dnsQueryTcp(name: string): string {
  const query = Buffer.from(dnsQuery(name), 'base64');
  return Buffer.concat([Buffer.from([query.length >> 8, query.length & 0xff]), query]).toString('base64');
}
