/**
 * Who may use the admin API: this machine while the loopback is open, the command line with the token of this start, and
 * users with the right `admin`. A page in somebody's browser is kept out: behind an open loopback only requests that name
 * this machine as their host are answered.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { makeAddress } from "../model/address.ts";
import { BrokerError } from "../model/errors.ts";
import type { PeerInfo } from "../security/peer.ts";
import { isLoopbackAddress } from "../util/network.ts";
import type { AdminSources } from "./sources.ts";

export type Access =
  | { readonly kind: "granted"; readonly user: string }
  | { readonly kind: "denied"; readonly status: 401 | 403 | 503; readonly reason: string };

/** The whole broker, as an address. */
const EVERYTHING = makeAddress("any", "sluice");

export async function checkAccess(
  sources: AdminSources,
  peer: PeerInfo,
  authorization: string | undefined,
  host: string | undefined,
): Promise<Access> {
  const { authenticator, authorizer } = sources;
  const bearer = /^Bearer (\S+)$/i.exec(authorization ?? "")?.[1];
  if (bearer !== undefined) {
    return isLoopbackAddress(peer.remoteAddress) && isSame(bearer, sources.localToken)
      ? { kind: "granted", user: "local" }
      : { kind: "denied", status: 401, reason: "the token is not of this start of the broker" };
  }
  const basic = /^Basic ([\w+/=]+)$/i.exec(authorization ?? "")?.[1];
  if (basic === undefined) {
    const principal = authenticator.withoutCredentials(peer);
    if (principal === undefined) {
      return { kind: "denied", status: 401, reason: "log in with a user that has the right admin" };
    }
    if (principal.isAnonymous && !isLoopbackAddress(hostName(host))) {
      return { kind: "denied", status: 403, reason: "ask by the name of this machine: localhost" };
    }
    return permit(principal.name, authorizer.permissionsFor(principal, "", peer));
  }
  const text = Buffer.from(basic, "base64").toString("utf8");
  const colon = text.indexOf(":");
  if (colon < 1) return { kind: "denied", status: 401, reason: "expected user:password" };
  try {
    const user = text.slice(0, colon);
    const principal = await authenticator.checkPassword(user, text.slice(colon + 1), peer);
    if (principal === undefined) {
      return { kind: "denied", status: 401, reason: "user or password is wrong" };
    }
    return permit(user, authorizer.permissionsFor(principal, "", peer));
  } catch (error) {
    if (!(error instanceof BrokerError)) throw error;
    return { kind: "denied", status: 503, reason: error.message };
  }
}

function permit(
  user: string,
  permissions: ReturnType<AdminSources["authorizer"]["permissionsFor"]>,
): Access {
  return permissions.allows("admin", EVERYTHING)
    ? { kind: "granted", user }
    : {
        kind: "denied",
        status: 403,
        reason: `user "${user}" lacks the right admin: sluice grant ${user} "admin *"`,
      };
}

const hostName = (host = ""): string => host.replace(/:\d+$/, "").replace(/^\[|\]$/g, "");

function isSame(a: string, b: string): boolean {
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}
