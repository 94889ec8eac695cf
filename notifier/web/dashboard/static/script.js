// What needs a script: times in the viewer's time zone, buttons, and updates of the page as events happen.

const REFRESH_EVERY = 5000;
const REFRESH_APART = 400;
const SETTLED_AFTER = 2500;
const SPEAK_APART = 3000;
const RECONNECT_AFTER = 3000;

const main = document.querySelector("main");
const told = document.querySelector("#told");
const news = document.querySelector("#news");

// Moments

const clock = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

/** Write moments in the viewer's own time; the UTC time stays in the title. */
function localise(root) {
  for (const time of root.querySelectorAll("time[data-shown]")) {
    const local = clock.format(new Date(time.dateTime));
    if (time.dataset.shown === "moment") {
      time.textContent = local;
    } else {
      time.title = `${local} (${time.title})`;
    }
  }
}

// Buttons

const sentences = {
  poll: (body) => body.message || `${body.source}: polled, ${counted(body.events, "new event")}`,
  sweep: (body) => body.message || `${body.source}: the sweep is running`,
  release: (body) => {
    if (!body.records) return `${body.source}: no ${body.what} are held back any more`;
    const how = body.silently ? "accepted without reporting" : "reported";
    const when = body.what === "arrivals" ? "" : ", by a sweep of the whole list that starts now";
    return `${body.source}: ${counted(body.records, "record")} held back: ${body.what} are ${how}${when}`;
  },
  retry: (body) => body.message || `${counted(body.deliveries, "delivery", "deliveries")} put back into the queue`,
  switch: (body) => `${body.destination}: ${body.state === "disabled" ? "disabled, its events are kept" : "enabled"}${but(body)}`,
  try: (body) => `${body.destination}: tried now`,
  test: (body) => {
    const answer = [body.status, body.answer].filter(Boolean).join(" ");
    return `${body.destination}: sample event ${body.result.replaceAll("_", " ")}${answer && `, answered ${answer}`} (${body.milliseconds} ms)${but(body)}`;
  },
};

/** Return a warning: the daemon uses an older configuration, or the destination is disabled. */
function but(body) {
  return body.message ? `. But ${body.message}` : "";
}

function counted(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

/** Show a message: in the element with this id, or else at the bottom of the window. */
function tell(sentence, isWrong, id) {
  const place = id && document.getElementById(id);
  if (place) {
    place.textContent = sentence;
    place.hidden = false;
    place.classList.toggle("wrong", isWrong);
    return;
  }
  told.classList.toggle("wrong", isWrong);
  told.hidden = false;
  told.querySelector("p").textContent = sentence;
}

/** The requests of buttons that wait for an answer; they are given up when other requests get no answer either. */
const unanswered = new Set();

async function press(button) {
  const waiting = new AbortController();
  unanswered.add(waiting);
  button.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(button.dataset.post, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: button.dataset.body ?? "{}",
      signal: waiting.signal,
    });
    const body = await answer.json();
    const failed = !answer.ok || (button.dataset.told === "test" && body.result !== "delivered");
    tell(body.error?.message ?? sentences[button.dataset.told](body), failed, button.dataset.answer);
  } catch {
    const done = waiting.signal.aborted ? "it may still do this when it continues" : "probably nothing was done";
    tell(`The notifier does not answer: ${done}.`, true, button.dataset.answer);
  } finally {
    unanswered.delete(waiting);
    button.removeAttribute("aria-busy");
  }
  await refresh();
  // The destination's answer to a delivery is known only a moment later.
  setTimeout(refresh, SETTLED_AFTER);
}

/** Copy the text of an element; where the browser does not allow that (plain HTTP), select it instead. */
async function copy(id) {
  const place = document.getElementById(id);
  try {
    await navigator.clipboard.writeText(place.textContent);
    tell("Copied.", false);
  } catch {
    getSelection().selectAllChildren(place);
    tell("It is selected: copy it with the keyboard or the menu.", false);
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.copy) {
    copy(button.dataset.copy);
  } else if (button?.dataset.post && button.getAttribute("aria-busy") !== "true") {
    press(button);
  } else if (button?.parentElement === told) {
    told.hidden = true;
  }
});

// Long lists of names

/** Show only those names of a list that contain the text of its field. */
function find(field) {
  const list = document.getElementById(field.dataset.filter);
  const wanted = field.value.trim().toLowerCase();
  for (const item of list.children) item.classList.toggle("unfit", !item.textContent.toLowerCase().includes(wanted));
  const fit = list.querySelectorAll("li:not(.unfit)").length;
  const words = wanted ? `${fit} of ${list.children.length}` : "";
  // A screen reader would say the same words again.
  if (field.nextElementSibling.textContent !== words) field.nextElementSibling.textContent = words;
}

document.addEventListener("input", ({ target }) => {
  if (target.dataset.filter) find(target);
});

// Updates: the page is fetched again, and the elements that differ are changed in place

/** Give an element the content of another one. Equal parts are left unchanged, so focus and open details stay. */
function follow(old, fresh) {
  if (old.dataset?.keep !== undefined) return;
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    const isOurs = ["aria-busy", "class", "open"].includes(name);
    if (!fresh.hasAttribute(name) && !isOurs) old.removeAttribute(name);
  }
  const named = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]));
  let place = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const same = wanted.id ? named.get(wanted.id) : place;
    if (same && same.nodeName === wanted.nodeName && (same.id ?? "") === (wanted.id ?? "")) {
      if (same === place) place = place.nextSibling;
      else old.insertBefore(same, place);
      if (same.nodeType === Node.ELEMENT_NODE) follow(same, wanted);
      else if (same.data !== wanted.data) same.data = wanted.data;
    } else {
      if (wanted.localName === "tr" && named.size) wanted.classList.add("fresh");
      old.insertBefore(wanted, place);
    }
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

let refreshing = false;
let wanted = false;
let refreshedAt = 0;
let isSignedOut = false;

/** Fetch the page again, at the earliest REFRESH_APART after the last time. */
async function refresh() {
  wanted = true;
  if (refreshing || isSignedOut) return;
  refreshing = true;
  while (wanted) {
    await pause(refreshedAt + REFRESH_APART - Date.now());
    wanted = false;
    refreshedAt = Date.now();
    await fetchAgain();
  }
  refreshing = false;
}

const pause = (milliseconds) => new Promise((done) => setTimeout(done, Math.max(0, milliseconds)));

/** Milliseconds; a notifier that hangs accepts a request and never answers. */
const ANSWERS_WITHIN = 10_000;

async function fetchAgain() {
  try {
    const answer = await fetch(location.pathname + location.search, { redirect: "manual", cache: "no-store", headers: { Accept: "text/html" }, signal: AbortSignal.timeout(ANSWERS_WITHIN) });
    if (answer.type === "opaqueredirect" || answer.status === 401) {
      isSignedOut = true;
      tell("You are signed out: load this page again to sign in.", true);
      lose("You are signed out.");
      return;
    }
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.querySelector("main");
    if (!answer.ok) {
      lose(`${fresh?.querySelector("h1")?.textContent ?? `The notifier answers with an error, ${answer.status}`}.`);
      return;
    }
    localise(fresh);
    document.querySelector("#lost")?.remove();
    const state = document.querySelector("#connection");
    const [text, className] = [state?.textContent, state?.className];
    follow(main, fresh);
    for (const field of main.querySelectorAll("[data-filter]")) find(field);
    if (document.title !== page.title) speak(main.querySelector("h1").textContent.trim());
    document.title = page.title;
    const stays = document.querySelector("#connection");
    if (stays && text !== undefined) [stays.textContent, stays.className] = [text, className];
    connection(isLive ? "live" : "refreshed every 5 s", false);
  } catch (error) {
    for (const waiting of unanswered) waiting.abort();
    lose(error.name === "TimeoutError" ? "The notifier has not answered for ten seconds." : "The notifier does not answer.");
  }
}

/** Say that the state is unknown: in place of the verdict, or else below the heading. The next page that arrives restores it. */
function lose(words) {
  const verdict = main.querySelector(".verdict");
  if (verdict) {
    verdict.className = "verdict attention";
    verdict.querySelector("h1 span").textContent = words;
    verdict.querySelector(".shape").setAttribute("class", "shape bad");
    verdict.querySelector("use").setAttribute("href", "#shape-bad");
    connection("this page is out of date", true);
  } else if (main.dataset.refresh !== undefined) {
    const place = document.querySelector("#lost") ?? document.createElement("p");
    [place.id, place.className, place.textContent] = ["lost", "in-place wrong", `${words} This page is out of date.`];
    main.querySelector("h1").after(place);
  } else {
    return;
  }
  const title = `${words} · Completion Notifier`;
  if (document.title !== title) speak(words);
  document.title = title;
}

/** Show beside the verdict whether the page is up to date. */
function connection(words, isLost) {
  const state = document.querySelector("#connection");
  if (!state) return;
  if (state.textContent !== words) state.textContent = words;
  state.classList.toggle("lost", isLost);
}

// Events as they happen

let stream = null;
let isLive = false;
let spokeAt = 0;
let unspoken = [];
let speaking = null;
let settling = null;
let returning = null;

/** What a screen reader says about an event. */
const happenings = {
  "completion.created": ({ completion }) => `New: ${who(completion)} completed ${what(completion)}`,
  "completion.updated": ({ completion }) => `the record of ${who(completion)}, ${what(completion)}, was changed`,
  "completion.removed": ({ completion }) => `the record of ${who(completion)}, ${what(completion)}, was removed`,
  "completion.expiring": ({ completion }) => `${what(completion)} of ${who(completion)} expires on ${completion.valid_until}`,
  "completion.expired": ({ completion }) => `${what(completion)} of ${who(completion)} has expired`,
  "completion.renewed": ({ completion }) => `${what(completion)} of ${who(completion)} was renewed`,
  "notifier.alert": ({ summary }) => summary,
};
const who = (completion) => completion.user_name ?? completion.user_id;
const what = (completion) => completion.training_title ?? completion.training_id;

/** Announce a sentence to a screen reader, at most once every SPEAK_APART milliseconds. */
function speak(sentence) {
  unspoken.push(sentence);
  speaking ??= setTimeout(() => {
    const more = unspoken.length - 1;
    news.textContent = (more ? `${counted(more + 1, "message")}, the latest: ` : "") + unspoken.at(-1).slice(0, 300);
    unspoken = [];
    speaking = null;
    spokeAt = Date.now();
  }, Math.max(0, spokeAt + SPEAK_APART - Date.now()));
}

function listen() {
  // The page shows everything up to this event, so the stream begins after it.
  stream = new EventSource(`/v1/events/stream?after=${main.dataset.live}`);
  stream.addEventListener("open", () => {
    isLive = true;
    connection("live", false);
  });
  stream.addEventListener("message", ({ data }) => {
    const event = JSON.parse(data);
    speak(happenings[event.type]?.(event.data) ?? event.type);
    refresh();
    // By then the event is delivered and counted.
    clearTimeout(settling);
    settling = setTimeout(refresh, SETTLED_AFTER);
  });
  stream.addEventListener("error", () => {
    stopListening();
    refresh();
    clearTimeout(returning);
    returning = setTimeout(watch, RECONNECT_AFTER);
  });
}

function stopListening() {
  stream?.close();
  stream = null;
  isLive = false;
}

/** Listen only while the page is visible. After an interruption the page is fetched again instead of all missed events. */
async function watch() {
  if (document.visibilityState !== "visible") {
    stopListening();
  } else if (stream === null) {
    await refresh();
    if (stream === null && !isSignedOut) listen();
  }
}

localise(document);
if (main.dataset.live !== undefined) {
  document.addEventListener("visibilitychange", watch);
  setInterval(() => document.visibilityState === "visible" && refresh(), REFRESH_EVERY);
  if (document.visibilityState === "visible") listen();
} else if (main.dataset.refresh !== undefined) {
  setInterval(() => document.visibilityState === "visible" && refresh(), REFRESH_EVERY);
}
