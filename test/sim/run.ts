/**
 * Runs simulations by hand: `node dist/test/sim/run.js [FIRST [COUNT]]`. One seed is told step by step.
 */
import { simulateStore } from "./store-simulation.ts";

const first = Number(process.argv[2] ?? 1);
const count = Number(process.argv[3] ?? 1);
const say = (line: string): void => void process.stdout.write(`${line}\n`);
let failed = 0;
const began = performance.now();
for (let seed = first; seed < first + count; seed++) {
  try {
    await simulateStore(seed, count === 1 ? say : null);
  } catch (error) {
    failed++;
    say(count === 1 ? String(error) : String(error).split("\n")[0]!);
  }
}
say(`${count} seeds, ${failed} failed, ${Math.round((performance.now() - began) / count)} ms each`);
process.exitCode = failed === 0 ? 0 : 1;
