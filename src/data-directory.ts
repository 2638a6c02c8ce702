/** Files of ours in the data directory beside the store, and whether the directory can be used at all. */
import { access, constants, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Config } from "./config/schema.ts";
import { EXIT, StartError } from "./start-error.ts";

export const usersPath = (config: Config): string =>
  config.security.users === "" ? join(config.data, "users.toml") : config.security.users;

/** Where a running broker is reached by the command line on the same machine; readable by its own user only. */
export interface LocalAccess {
  readonly url: string;
  readonly token: string;
}

const localAccessPath = (config: Config): string => join(config.data, "admin.json");

export async function writeLocalAccess(config: Config, access: LocalAccess): Promise<void> {
  await writeFile(localAccessPath(config), `${JSON.stringify(access)}\n`, { mode: 0o600 });
}

export const removeLocalAccess = (config: Config): Promise<void> =>
  rm(localAccessPath(config), { force: true });

export async function readLocalAccess(config: Config): Promise<LocalAccess | undefined> {
  try {
    return JSON.parse(await readFile(localAccessPath(config), "utf8")) as LocalAccess;
  } catch {
    return undefined;
  }
}

export async function openDataDirectory(data: string): Promise<void> {
  try {
    await mkdir(data, { recursive: true, mode: 0o750 });
    await access(data, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const reason =
      code === "EACCES" || code === "EPERM"
        ? "this user may not read and write it"
        : code === "ENOTDIR" || code === "EEXIST"
          ? "it is not a directory"
          : code === "EROFS"
            ? "the file system is read-only"
            : (error as Error).message;
    throw new StartError(
      EXIT.DATA_UNUSABLE,
      `data directory ${data}: ${reason} (choose another with --data)`,
      { cause: error },
    );
  }
}
