// A receiver of Completion Notifier's events in Node 18 or newer, without any package.
//
//     WEBHOOK_SECRET=whsec_... PORT=8000 node node_receiver.mjs
//
// This program writes each event to a file in the folder EVENTS (`<id>.json`) before it answers, and does the work
// afterwards. A file whose work is done is renamed to `<id>.done`. These files are kept, so that an event that arrives
// again is recognised.
//
// In Express, `statusOf` is all that is needed; the body must be the raw bytes:
//
//     app.post("/hook", express.raw({ type: () => true, limit: "32mb" }),
//              (request, response) => response.sendStatus(statusOf(request.headers, request.body)));

import { createHmac, randomUUID, timingSafeEqual } from "node:crypto";
import * as fs from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";

const KEY = Buffer.from(process.env.WEBHOOK_SECRET.replace(/^whsec_/, ""), "base64");
const EVENTS = process.env.EVENTS ?? "events";
const TOLERANCE_SECONDS = 300;
const LONGEST_BODY_BYTES = 32 * 2 ** 20;
const RETRY_SECONDS = 60;
const ID = /^evt_[a-z2-7]{26}$/;

// Does the work for an event. After a crash, it may be done again for the same event: it must be safe to repeat.
function work(event) {
  console.log("received", event.type, event.id); // replace this
}

// Returns whether the request has a valid signature (Standard Webhooks) and is recent.
function isGenuine(headers, body) {
  const id = headers["webhook-id"] ?? "";
  const timestamp = headers["webhook-timestamp"] ?? "";
  if (!/^[0-9]{1,12}$/.test(timestamp)) return false;
  if (Math.abs(Date.now() / 1000 - Number(timestamp)) > TOLERANCE_SECONDS) return false;
  const mac = createHmac("sha256", KEY).update(`${id}.${timestamp}.`).update(body);
  const expected = Buffer.from(`v1,${mac.digest("base64")}`);
  return (headers["webhook-signature"] ?? "").split(" ").some((written) => {
    const signature = Buffer.from(written);
    return signature.length === expected.length && timingSafeEqual(signature, expected);
  });
}

// Returns the events in a body: one event, an array of events, or the array `events` of an object. A
// message (`notifier.batch`) has this object in `data`.
function eventsIn(document) {
  const body = document?.type === "notifier.batch" ? document.data : document;
  const found = body?.events ?? body;
  return Array.isArray(found) ? found : [found];
}

// Writes an event to its file on the disk; returns the file, or null if the event arrived before.
function keep(event) {
  const file = join(EVENTS, `${event.id}.json`);
  if (fs.existsSync(doneOf(file))) return null;
  const part = join(EVENTS, `${event.id}.${randomUUID()}.part`);
  const descriptor = fs.openSync(part, "wx");
  try {
    fs.writeFileSync(descriptor, JSON.stringify(event));
    fs.fsyncSync(descriptor);
  } finally {
    fs.closeSync(descriptor);
  }
  try {
    fs.linkSync(part, file); // unlike a rename, a link fails if the file exists
    return file;
  } catch (error) {
    if (error.code === "EEXIST") return null;
    throw error;
  } finally {
    fs.unlinkSync(part);
  }
}

// Works on a kept event, and marks it as done. If the work fails, it is tried again later.
async function finish(file) {
  try {
    if (fs.existsSync(doneOf(file))) return fs.rmSync(file, { force: true }); // kept again just after it was done
    await work(JSON.parse(fs.readFileSync(file, "utf8")));
    fs.renameSync(file, doneOf(file));
  } catch (error) {
    console.error(`${file} is tried again in ${RETRY_SECONDS} seconds:`, error);
    setTimeout(finish, RETRY_SECONDS * 1000, file);
  }
}

function doneOf(file) {
  return file.replace(/\.json$/, ".done");
}

// Accepts events; returns the status to answer. 204 means that they are kept.
export function statusOf(headers, body) {
  if (!isGenuine(headers, body)) return 401;
  let events;
  try {
    events = eventsIn(JSON.parse(body.toString("utf8")));
  } catch {
    return 400;
  }
  if (events.length === 0 || !events.every((event) => ID.test(String(event?.id)))) return 400;
  for (const event of events) {
    const file = keep(event);
    if (file !== null) setImmediate(finish, file);
  }
  return 204;
}

fs.mkdirSync(EVENTS, { recursive: true });
for (const name of fs.readdirSync(EVENTS).sort()) {
  if (name.endsWith(".json")) await finish(join(EVENTS, name)); // what an earlier run has accepted and not finished
}

createServer((request, response) => {
  const pieces = [];
  let size = 0;
  request.on("data", (piece) => {
    size += piece.length;
    if (size <= LONGEST_BODY_BYTES) pieces.push(piece);
  });
  request.on("end", () => {
    let status = request.method === "POST" ? 413 : 405;
    if (request.method === "POST" && size <= LONGEST_BODY_BYTES) {
      try {
        status = statusOf(request.headers, Buffer.concat(pieces));
      } catch (error) {
        console.error(error);
        status = 500; // the event is sent again
      }
    }
    response.writeHead(status).end();
  });
}).listen(Number(process.env.PORT ?? 8000), "127.0.0.1");
