import type { DebianBase } from './debian.ts';

/** What a kind node runs on: the packages of kind's own base image, and runc. */
export const nodeBase: DebianBase = {
  name: 'node',
  packages: ['systemd', 'dbus', 'conntrack', 'iptables', 'nftables', 'ipset', 'iproute2', 'ethtool', 'util-linux', 'mount', 'kmod', 'libseccomp2',
    'e2fsprogs', 'ca-certificates', 'curl', 'jq', 'procps', 'hostname', 'runc'],
};

/** For the pods of the node: kube-proxy and Cilium want iptables, Cilium also clang, of which its BPF compiler and libraries are enough. */
export const networkBase: DebianBase = {
  name: 'network',
  packages: ['iproute2', 'iptables', 'ipset', 'kmod', 'mount', 'libclang-cpp19'],
  unpackOnly: ['clang-19'],
  hooks: ['ln -s ../lib/llvm-19/bin/clang "$1"/usr/bin/clang'],
};

/** Stands in for node:24-bookworm-slim: Debian with the Node that this repository runs on. */
export const runtimeBase: DebianBase = {
  name: 'runtime',
  packages: ['ca-certificates', 'libstdc++6', 'libgomp1'],
  hooks: ['rm -rf "$1"/usr/share/zoneinfo'],
  programs: { '/usr/local/bin/node': process.execPath }, // dev/run starts us with this repository's Node
  salt: process.version,
};

/** Fetches the CUDA libraries for the worker's image, by way of this machine's certificates. */
export const fetchBase: DebianBase = {
  name: 'fetch',
  packages: ['ca-certificates', 'python3-pip'],
  programs: { '/etc/ssl/certs/ca-certificates.crt': '/etc/ssl/certs/ca-certificates.crt' },
};
