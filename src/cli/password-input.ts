/** Passwords from a person or a pipe, never from the command line, where everybody can read them. */
import { EXIT, StartError } from "../start-error.ts";

const CONTROL_C = "\u0003";
const CONTROL_D = "\u0004";
const DELETE = new Set(["\u007f", "\b"]);

export async function readStandardInput(): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString("utf8");
}

/** Asks on the terminal, without showing what is typed. */
export async function askPassword(prompt: string): Promise<string> {
  const { stdin, stderr } = process;
  if (!stdin.isTTY) {
    throw new StartError(
      EXIT.BAD_CONFIGURATION,
      "no terminal to ask for the password: pass --password-stdin or --generate",
    );
  }
  stderr.write(prompt);
  stdin.setRawMode(true);
  stdin.setEncoding("utf8");
  try {
    let typed = "";
    for await (const text of stdin) {
      for (const character of String(text)) {
        if (character === "\r" || character === "\n" || character === CONTROL_D) return typed;
        if (character === CONTROL_C) throw new StartError(EXIT.FAILED, "stopped");
        typed = DELETE.has(character) ? typed.slice(0, -1) : typed + character;
      }
    }
    return typed;
  } finally {
    stdin.setRawMode(false);
    stderr.write("\n");
  }
}
