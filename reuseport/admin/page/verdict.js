// The verdict: is it well, in one sentence, and what else deserves a look. Pure: a status and its readings in, words out.

import { age, percent, series, slots, span, whole } from "./words.js";

export const GLYPHS = { ok: "✓", working: "↻", attention: "!", bad: "✕", unknown: "?" };

const GRAVITY = ["bad", "attention", "working", "ok"];

// ── concerns ────────────────────────────────────────────────────────────────────────────────────────────────────

const numbers = (group) => group.map((slot) => slot.slot);

function fostered(group) {
    const by = [...new Set(group.map((slot) => slot.foster).filter((number) => number !== null))];
    if (by.length === 0) {
        return "";
    }
    return by.length <= 3 ? `, fostered by slot ${series(by.map(String))}` : ", fostered by siblings";
}

function slotConcerns(status) {
    const groups = new Map();
    for (const slot of status.slots) {
        // What is on its way out by order is no concern.
        if (slot.wanted && slot.state !== "ready") {
            groups.set(slot.state, [...(groups.get(slot.state) ?? []), slot]);
        }
    }
    const said = [];
    const concern = (state, tone, words) => {
        const group = groups.get(state);
        if (group) {
            said.push({ tone, key: `${state} ${numbers(group)}`, text: words(group, slots(numbers(group))) });
        }
    };
    concern("stalled", "bad", (group, who) => {
        const silent = Math.max(...group.map((slot) => slot.heartbeat_age ?? 0));
        return `${who} stalled for ${group.length > 1 ? "up to " : ""}${age(silent)}${fostered(group)}`;
    });
    concern("backoff", "bad", (group, who) => {
        const soonest = Math.min(...group.map((slot) => slot.retry_at ?? Infinity)) - status.now;
        const when = soonest === Infinity ? "" : `, tried again in ${age(Math.max(0, soonest))}`;
        return `${who} ${group.length > 1 ? "have no workers" : "has no worker"}${when}${fostered(group)}`;
    });
    concern("dying", "attention", (group, who) => `${who} ${group.length > 1 ? "are" : "is"} being ended${fostered(group)}`);
    concern("drained", "attention", (group, who) => `${who} taken out of service by hand${fostered(group)}`);
    const restarting = (groups.get("starting") ?? []).filter((slot) => slot.foster !== null);
    if (restarting.length) {
        said.push({
            tone: "attention",
            key: `restarting ${numbers(restarting)}`,
            text: `${slots(numbers(restarting))} restarting${fostered(restarting)}`,
        });
    }
    concern("draining", "working", (group, who) => `${who} draining${fostered(group)}`);
    const waiting = [...(groups.get("starting") ?? []), ...(groups.get("empty") ?? [])].filter((slot) => slot.foster === null);
    if (waiting.length && status.state !== "starting") {
        said.push({ tone: "working", key: `starting ${numbers(waiting)}`, text: `${slots(numbers(waiting))} starting` });
    }
    return said;
}

function trafficConcerns(status, readings, balance) {
    const said = [];
    const full = status.slots.filter((slot) => slot.accept_queue.limit > 0 && slot.accept_queue.length >= slot.accept_queue.limit / 2);
    if (full.length) {
        const most = full.reduce((a, b) => (b.accept_queue.length > a.accept_queue.length ? b : a));
        said.push({
            tone: "bad",
            key: `queue ${numbers(full)}`,
            text: `${slots(numbers(full))}: accept queue ${percent(most.accept_queue.length / most.accept_queue.limit)} full`,
        });
    }
    const { served, failed, overflows } = readings.total;
    if (overflows > 0) {
        // The kernel counts for all programs of this network namespace: it may be anybody's queue.
        said.push({ tone: "ok", key: "overflows", text: `${whole(overflows)} times an accept queue on this host was full, perhaps not ours` });
    }
    if (failed >= 10 && failed > 0.05 * served) {
        said.push({ tone: "bad", key: "5xx", text: `${percent(failed / Math.max(served, failed))} of the responses are 5xx` });
    }
    if (balance.kind === "uneven") {
        said.push({ tone: "attention", key: "uneven", text: `Uneven: ${balance.text}` });
    }
    return said;
}

// What a look at the present does not show, from the last records.
function pastConcerns(status, records) {
    const said = [];
    const recent = (record) => status.now - record.time < 300;
    // A predecessor that did not end in time was killed as well, with a warning: nobody misses it.
    const died = (record) => record.kind === "crashed" || (record.kind === "killed" && record.level === "error");
    const crashes = records.filter((record) => died(record) && recent(record));
    if (crashes.length) {
        const latest = crashes.at(-1);
        const where = latest.slot === null ? "" : ` in slot ${latest.slot}`;
        const others = crashes.length > 1 ? `, ${crashes.length} deaths in five minutes` : "";
        said.push({ tone: "ok", key: `crash ${latest.seq}`, text: `A worker${where} died ${age(status.now - latest.time)} ago${others}` });
    }
    const reload = records.findLast((record) => ["reload_begun", "reload_done", "reload_aborted"].includes(record.kind));
    if (reload?.kind === "reload_aborted") {
        said.push({
            tone: "attention",
            key: `aborted ${reload.seq}`,
            text: `The last reload was aborted ${span(status.now - reload.time)} ago, generation ${status.generation} serves`,
        });
    }
    return said;
}

function launcherConcerns(status) {
    const { workers, ready } = status;
    if (status.state === "stopping") {
        const left = status.slots.filter((slot) => slot.pid !== null || slot.predecessors.length).length;
        return [{ tone: "bad", key: "stopping", text: `Stopping: ${left} ${left === 1 ? "worker" : "workers"} left` }];
    }
    if (status.state === "starting") {
        return [{ tone: "working", key: "first start", text: `Starting: ${ready} of ${workers} workers ready` }];
    }
    const said = [];
    if (ready === 0) {
        said.push({ tone: "bad", key: "none", text: "No worker is ready: nobody is answered" });
    }
    if (status.reload) {
        const { generation, done, of } = status.reload;
        said.push({ tone: "working", key: `reload ${generation}`, text: `Reloading to generation ${generation}: ${done} of ${of}` });
    }
    return said;
}

// ── the verdict ─────────────────────────────────────────────────────────────────────────────────────────────────

const MOOD = { even: ", balanced", idle: ", idle", light: ", little to do", alone: "", uneven: "" };

function calm(status, balance) {
    const { workers, ready } = status;
    const who = workers === 1 ? "The only worker is ready" : `All ${whole(workers)} workers ready`;
    return ready >= workers ? `${who}${MOOD[balance.kind]}` : `${ready} of ${workers} workers ready`;
}

// `key` changes when something happens, not when a second passes: it decides what is read aloud.
export function judge(status, readings, balance, records) {
    const concerns = [
        ...launcherConcerns(status),
        ...slotConcerns(status),
        ...trafficConcerns(status, readings, balance),
        ...pastConcerns(status, records),
    ].sort((a, b) => GRAVITY.indexOf(a.tone) - GRAVITY.indexOf(b.tone));
    const ruling = concerns[0]?.tone;
    const well = ruling === undefined || ruling === "ok";
    const tone = well && status.ready < status.workers ? "attention" : (ruling ?? "ok");
    const headline = well ? calm(status, balance) : concerns[0].text;
    return {
        tone,
        headline,
        concerns: concerns.slice(well ? 0 : 1).map((concern) => concern.text),
        key: [tone, status.workers, ...concerns.map((concern) => concern.key)].join("; "),
        title: `${GLYPHS[tone]} ${status.ready}/${status.workers} ${status.application}`,
    };
}

const MOST_HELD = 6;

// What only one worker can hold, and in which slot it is.
function held(holders) {
    const told = holders.slice(0, MOST_HELD).map((one) => `${one.name} in slot ${one.slot}`);
    const more = holders.length - told.length;
    return told.length ? [`only one: ${told.join(", ")}${more > 0 ? `, and ${more} more` : ""}`] : [];
}

export function facts(status) {
    const { rule, level } = status.balance;
    return [
        status.application,
        status.addresses.join(" "),
        `generation ${status.generation}`,
        `${["hashed", "migrating", "steered"][level] ?? `level ${level}`}, ${rule}`,
        ...held(status.only_one),
        `up ${span(status.uptime)}`,
        `pid ${status.pid}`,
        `reuseport ${status.version}`,
    ];
}
