import test from "ava";
import { CommitLogStore } from "../../src/store/commit-log-store.ts";
import { bodiesOf } from "../suites/message-store.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { Random } from "../support/random.ts";
import { fieldsOf } from "../support/store-events.ts";

const SEGMENT = 65_536;

class Story {
  readonly disk = new FaultyStorage(new Random(5));
  store!: CommitLogStore;
  readonly told: string[] = [];

  async open(): Promise<this> {
    this.store = new CommitLogStore({
      directory: "/data",
      segmentBytes: SEGMENT,
      minFreeBytes: 0,
      tickMs: 0,
      inlineOn: this.disk,
    });
    await this.store.open({
      onWatermark() {},
      onRoom() {},
      onHealth() {},
      onReadable() {},
      onLeftover: (reason) => void this.told.push(reason),
    });
    return this;
  }

  async append(count: number, name = "q"): Promise<void> {
    const queue = this.store.queue(name, 0);
    for (let i = 0; i < count; i++) {
      this.store.append(queue, fieldsOf(`${queue.maxOffset} ${"x".repeat(1000)}`));
      this.store.publish(true);
    }
    await this.checkpoint();
  }

  async checkpoint(): Promise<void> {
    for (let round = 0; round < 3; round++) {
      this.store.tick(true);
      for (let i = 0; i < 20; i++) await new Promise(setImmediate);
    }
  }

  get segments(): number {
    return this.disk.list("/data/commitlog").length;
  }
}

for (const code of ["EACCES", "EIO", "EROFS"] as const) {
  test(`what the disk does not let go of is told, and stops nothing (${code})`, async (t) => {
    const story = await new Story().open();
    await story.append(300);
    await story.append(5, "gone");
    story.disk.fail({ operation: "remove", code, times: 1000 });
    const queue = story.store.queue("q", 0);
    story.store.trim(queue, 290);
    story.store.dropQueue(story.store.queue("gone", 0));
    await story.checkpoint();
    await story.append(10);
    t.is(story.store.health.state, "ok");
    t.is(story.store.watermarks.durable, story.store.watermarks.appended);
    t.true(story.told.length > 0);
    t.regex(story.told[0]!, new RegExp(code));
    // A queue of the name begins anew, whatever lies there.
    await story.append(3, "gone");
    t.is(story.store.health.state, "ok");
    const before = story.segments;
    t.true(before >= 4);
    await story.store.close();
    story.disk.heal();
    await story.open();
    t.is(bodiesOf(story.store, story.store.queue("gone", 0)).length, 3);
    t.is(bodiesOf(story.store, story.store.queue("q", 0), 290).length, 20);
    await story.append(1);
    t.true(story.segments < before, "they go when they can");
    await story.store.close();
  });
}
