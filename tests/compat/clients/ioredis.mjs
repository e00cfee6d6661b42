// Goal:   a program written for ioredis, or for its descendant iovalkey, works unchanged.
// Method: the calls that such programs make, against the port given; each result is asserted. The package's
//         name is the second argument.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const require = createRequire(process.cwd() + "/");
const port = Number(process.argv[2]);
const name = process.argv[3];
const loaded = require(name);
const Redis = loaded.default ?? loaded.Redis ?? loaded;

async function strings(redis) {
  assert.equal(await redis.ping(), "PONG");
  assert.equal(await redis.set("io:k", "value", "EX", 100), "OK");
  assert.equal(await redis.get("io:k"), "value");
  assert.ok((await redis.ttl("io:k")) > 90);
  assert.equal(await redis.get("io:none"), null);
  assert.equal(await redis.set("io:k", "v", "NX"), null);
  const bytes = Buffer.from([0, 255, 13, 10, 36]);
  await redis.set("io:bytes", bytes);
  assert.deepEqual(await redis.getBuffer("io:bytes"), bytes);
  assert.equal(await redis.append("io:a", "ab"), 2);
  assert.equal(await redis.strlen("io:a"), 2);
  assert.equal(await redis.incrbyfloat("io:f", "0.5"), "0.5");
  assert.equal(await redis.mset({ "io:m1": "1", "io:m2": "2" }), "OK");
  assert.deepEqual(await redis.mget("io:m1", "io:none", "io:m2"), ["1", null, "2"]);
  await assert.rejects(redis.incr("io:k"), /not an integer/);
  await assert.rejects(redis.call("NOSUCH"), /unknown command/);
  const big = Buffer.alloc(3 << 20, "z");
  await redis.set("io:big", big);
  assert.equal((await redis.getBuffer("io:big")).compare(big), 0);
}

async function pipelines(redis) {
  const pipeline = redis.pipeline();
  for (let i = 0; i < 1000; i++) {
    pipeline.set(`io:p:${i}`, i);
  }
  pipeline.get("io:p:7").incr("io:k");
  const replies = await pipeline.exec();
  assert.equal(replies.length, 1002);
  assert.deepEqual(replies[1000], [null, "7"]);
  assert.match(replies[1001][0].message, /not an integer/);
}

async function transactions(redis) {
  const replies = await redis.multi().set("io:t", 1).incr("io:t").exec();
  assert.deepEqual(replies, [[null, "OK"], [null, 2]]);
  const other = redis.duplicate();
  await redis.watch("io:t");
  await other.set("io:t", "changed");
  assert.equal(await redis.multi().set("io:t", "mine").exec(), null);
  assert.equal(await redis.get("io:t"), "changed");
  other.disconnect();
}

async function iterations(redis) {
  const found = new Set();
  for await (const page of redis.scanStream({ match: "io:p:*", count: 50 })) {
    page.forEach((key) => found.add(key));
  }
  assert.equal(found.size, 1000);
  assert.equal(await redis.del(...found), 1000);
}

async function main() {
  const redis = new Redis({ port, host: "127.0.0.1", connectionName: "compat", maxRetriesPerRequest: 1 });
  await redis.flushall();
  await strings(redis);
  await pipelines(redis);
  await transactions(redis);
  await iterations(redis);
  assert.equal(await redis.client("GETNAME"), "compat");
  assert.equal(await redis.quit(), "OK");
  console.log(`${name}: done`);
}

await main();
