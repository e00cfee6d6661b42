// Goal:   a program written for node-redis works unchanged.
// Method: the calls that such programs make, against the port given; each result is asserted.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const require = createRequire(process.cwd() + "/");
const { createClient, WatchError, ErrorReply } = require("redis");
const port = Number(process.argv[2]);

async function strings(client) {
  assert.equal(await client.ping(), "PONG");
  assert.equal(await client.set("js:k", "value"), "OK");
  assert.equal(await client.get("js:k"), "value");
  assert.equal(await client.get("js:none"), null);
  assert.equal(await client.set("js:k", "other", { NX: true }), null);
  assert.equal(await client.set("js:t", "v", { EX: 100 }), "OK");
  assert.ok((await client.ttl("js:t")) > 90);
  assert.equal(await client.incr("js:n"), 1);
  assert.equal(await client.incrBy("js:n", 41), 42);
  assert.deepEqual(await client.mGet(["js:k", "js:none", "js:n"]), ["value", null, "42"]);
  assert.equal(await client.exists(["js:k", "js:n", "js:none"]), 2);
  const big = "x".repeat(1 << 20);
  await client.set("js:big", big);
  assert.equal((await client.get("js:big")).length, big.length);
  await assert.rejects(client.incr("js:k"), (error) => {
    assert.ok(error instanceof ErrorReply || error instanceof Error);
    return /not an integer/.test(error.message);
  });
}

async function pipelines(client) {
  const writes = [];
  for (let i = 0; i < 2000; i++) {
    writes.push(client.set(`js:p:${i}`, String(i)));
  }
  assert.ok((await Promise.all(writes)).every((reply) => reply === "OK"));
  const values = await Promise.all([0, 999, 1999].map((i) => client.get(`js:p:${i}`)));
  assert.deepEqual(values, ["0", "999", "1999"]);
}

async function transactions(client) {
  const replies = await client.multi().set("js:m", "1").incr("js:m").get("js:m").exec();
  assert.deepEqual(replies, ["OK", 2, "2"]);
  const other = client.duplicate();
  await other.connect();
  await client.watch("js:m");
  await other.set("js:m", "changed");
  await assert.rejects(client.multi().set("js:m", "mine").exec(), WatchError);
  assert.equal(await client.get("js:m"), "changed");
  await other.close();
}

async function iterations(client) {
  const found = new Set();
  for await (const page of client.scanIterator({ MATCH: "js:p:1*", COUNT: 100 })) {
    for (const key of Array.isArray(page) ? page : [page]) {
      found.add(key);
    }
  }
  assert.equal(found.size, 1111);
  assert.equal((await client.keys("js:p:12*")).length, 111);
  assert.equal(await client.del([...found]), 1111);
}

async function main() {
  for (const RESP of [2, 3]) {
    const client = createClient({ socket: { port, host: "127.0.0.1" }, RESP, name: "compat" });
    client.on("error", (error) => {
      throw error;
    });
    await client.connect();
    await client.flushAll();
    await strings(client);
    await pipelines(client);
    await transactions(client);
    await iterations(client);
    assert.ok((await client.info()).includes("redis_version"));
    assert.equal(await client.clientGetName(), "compat");
    await client.close();
  }
  console.log("node-redis: done");
}

await main();
