import test from "ava";
import fc from "fast-check";
import { OPEN, PacketIdRing } from "../../../protocols/mqtt/packet-id-ring.ts";

test("open identifiers are found, closed ones are not, none is open twice", (t) => {
  const operation = fc.tuple(fc.boolean(), fc.nat(1000), fc.integer({ min: 1, max: 3 }));
  fc.assert(
    fc.property(fc.nat(200_000), fc.array(operation, { maxLength: 200 }), (start, operations) => {
      const first = 32_769;
      const span = 50;
      const ring = new PacketIdRing(first, span);
      const model = new Map<number, { sequence: number; delivery: number }>();
      let next = start;
      for (const [isPut, choice, gap] of operations) {
        if (isPut) {
          const sequence = next + (gap - 1);
          if (!ring.fits(sequence)) {
            const oldest = Math.min(...[...model.values()].map((one) => one.sequence));
            t.true(sequence - oldest >= span);
            continue;
          }
          const id = ring.put(sequence, 3, choice, OPEN.AWAITS_ACK);
          t.is(id, first + (sequence % span));
          t.false(model.has(id));
          model.set(id, { sequence, delivery: choice });
          next = sequence + 1;
        } else if (model.size > 0) {
          const [id, { sequence }] = [...model][choice % model.size]!;
          t.is(ring.find(id), sequence);
          ring.free(sequence);
          model.delete(id);
        }
        for (let id = first - 2; id < first + span + 2; id++) {
          const known = model.get(id);
          const found = ring.find(id);
          t.is(found, known?.sequence ?? -1);
          if (known !== undefined) t.is(ring.deliveryOf(found), known.delivery);
        }
      }
    }),
    { numRuns: 60 },
  );
});
