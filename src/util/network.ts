/** Small questions about addresses. */
import { BlockList, isIP } from "node:net";

/** "::ffff:10.0.0.1" is the IPv4 address it carries. */
export function plainAddress(address: string): string {
  return address.startsWith("::ffff:") && address.includes(".") ? address.slice(7) : address;
}

export function isLoopbackAddress(address: string): boolean {
  const plain = plainAddress(address);
  return plain === "::1" || plain === "localhost" || /^127\./.test(plain);
}

/** Whose address it is: of IPv6 the first 64 bits, of which one machine has all the others; of IPv4 the address. */
export function addressGroup(address: string): string {
  const plain = plainAddress(address);
  if (!plain.includes(":")) return plain;
  const [head = "", tail] = plain.split("%")[0]!.split("::");
  const groups = head === "" ? [] : head.split(":");
  const after = tail === undefined || tail === "" ? 0 : tail.split(":").length;
  // What "::" leaves out of the first four groups is zero.
  if (tail !== undefined) while (groups.length < Math.min(4, 8 - after)) groups.push("0");
  if (tail !== undefined && groups.length < 4) groups.push(...tail.split(":"));
  return `${groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(":")}::`;
}

/** Tells whether an address lies in one of the networks (`10.0.0.0/8`, `::1`). Throws on one that cannot be read. */
export function networkList(networks: readonly string[]): (address: string) => boolean {
  if (networks.length === 0) return () => false;
  const list = new BlockList();
  for (const network of networks) {
    const [address = "", bits] = network.split("/");
    const version = isIP(address);
    if (version === 0) throw new RangeError(`${network}: not an address or network`);
    const family = version === 4 ? "ipv4" : "ipv6";
    const width = bits === undefined ? (version === 4 ? 32 : 128) : Number(bits);
    if (!Number.isInteger(width) || width < 0 || width > (version === 4 ? 32 : 128)) {
      throw new RangeError(`${network}: the prefix length is out of range`);
    }
    list.addSubnet(address, width, family);
  }
  return (address) => {
    const plain = plainAddress(address);
    const version = isIP(plain);
    return version !== 0 && list.check(plain, version === 4 ? "ipv4" : "ipv6");
  };
}
