import test from "ava";
import fc from "fast-check";
import { javaHash, parseTagExpression, pathOf, rootAndTag } from "../../src/model/tag.ts";

test("the tag hash is Java's String.hashCode", (t) => {
  t.is(javaHash(""), 0);
  t.is(javaHash("hello"), 99162322);
  t.is(javaHash("TagA"), 2598919);
  t.is(javaHash("polygenelubricants"), -2147483648);
  t.is(javaHash("😀"), 1772899);
});

test("an expression selects its tags by hash first and by text second", (t) => {
  const filter = parseTagExpression(" created || paid||created ");
  t.false(filter.isAll);
  t.deepEqual(filter.tags, ["created", "paid"]);
  t.is(filter.toString(), "created || paid");
  t.true(filter.matchesHash(javaHash("paid")));
  t.false(filter.matchesHash(javaHash("shipped")));
  t.true(filter.matchesTag("paid"));
});

test("tags with equal hashes are told apart by their text", (t) => {
  t.is(javaHash("Aa"), javaHash("BB"));
  const filter = parseTagExpression("Aa");
  t.true(filter.matchesHash(javaHash("BB")));
  t.false(filter.matchesTag("BB"));
});

test("a star, an empty expression and a star among tags select everything", (t) => {
  for (const text of ["*", "", "  ", "||", "a || *"]) {
    const filter = parseTagExpression(text);
    t.true(filter.isAll, text);
    t.true(filter.matchesHash(7));
    t.true(filter.matchesTag("anything"));
  }
});

test("a path splits into root and tag and comes back", (t) => {
  t.deepEqual(rootAndTag("orders"), { root: "orders", tag: "" });
  t.deepEqual(rootAndTag("orders/created/now"), { root: "orders", tag: "created/now" });
  t.deepEqual(rootAndTag("/a"), { root: "", tag: "a" });
  fc.assert(
    fc.property(fc.array(fc.constantFrom("a", "/", "b")), (parts) => {
      const path = parts.join("");
      const { root, tag } = rootAndTag(path);
      t.is(pathOf(root, tag, path.includes("/")), path);
    }),
  );
});
