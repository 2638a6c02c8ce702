import test from "ava";
import { TokenBucket } from "../../src/util/token-bucket.ts";

test("a bucket holds a second's worth, and the wait is as long as the debt", (t) => {
  const bucket = new TokenBucket(100, 1, 0);
  t.is(bucket.level(0), 100);
  bucket.draw(100);
  t.is(bucket.waitMs(0), 10, "for one token");
  bucket.draw(50);
  t.is(bucket.waitMs(0), 510);
  t.is(bucket.waitMs(510), 0);
  t.is(bucket.level(10_000), 100, "no more than it holds");
});

test("a clock that goes back costs nobody anything for long", (t) => {
  const bucket = new TokenBucket(10, 1, 100_000);
  bucket.draw(10);
  t.is(bucket.waitMs(5000), 100);
  t.is(bucket.waitMs(5100), 0);
});
