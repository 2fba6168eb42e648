// The figures over the charts: how much, how fast, how full, now or under the cursor.

import { put } from "./nodes.js";
import { brief, bytes, cores, percent, rate, whole } from "./words.js";

const held = new Map();

function write(name, text) {
    if (!held.has(name)) {
        held.set(name, document.querySelector(`[data-value="${name}"]`));
    }
    put(held.get(name), text);
}

// The first bucket ends at 5 ms: where in it a request lies, nobody knows.
export const latency = (value) => (value === Infinity ? "> 10 s" : value !== null && value < 0.005 ? "< 5 ms" : brief(value));

export function showFigures(status, readings) {
    const { total } = readings;
    showRow(total);
    write("errors", rate(total.errors));
    write("accepted", rate(total.accepted));
    write("websockets", whole(total.websockets));
    write("pss", bytes(total.pss));
    write("lagSlot", status.slots.length > 1 && total.lagSlot !== null ? `in slot ${total.lagSlot}` : "");
    const busiest = [...readings.slots].reduce((a, b) => ((b[1].cpu ?? -1) > (a?.[1].cpu ?? -1) ? b : a), null);
    const known = busiest !== null && busiest[1].cpu !== null;
    write("cpuMost", known ? percent(busiest[1].cpu) : "");
    write("cpuSlot", known ? `most, slot ${busiest[0]}` : "");
}

// What the charts know too, so that it can be read off at the cursor.
export function showRow(row) {
    write("rate", rate(row.rate));
    write("errors", rate(row.errors));
    write("p50", latency(row.p50));
    write("p95", latency(row.p95));
    write("p99", latency(row.p99));
    write("inFlight", whole(row.inFlight));
    write("queue", whole(row.queue));
    write("connections", whole(row.connections));
    write("lag", brief(row.lag));
    write("cpu", cores(row.cpu));
    write("rss", bytes(row.rss));
}
