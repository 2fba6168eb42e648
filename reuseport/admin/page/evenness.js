// Is it balanced: how requests and connections lie on the slots. Pure, like the verdict it belongs to.

import { percent, times } from "./words.js";

const FACTOR = 1.5;
// Even a perfect lottery deals unevenly. Four standard deviations of it, and a few for small numbers, are not called
// a clump: a false alarm on every page is worse than a late one.
const surprising = (value, mean) => Math.abs(value - mean) > 4 * Math.sqrt(mean) + 4;

function clump(entries) {
    const sum = entries.reduce((total, [, value]) => total + value, 0);
    const mean = sum / entries.length;
    let most = entries[0];
    let least = entries[0];
    for (const entry of entries) {
        if (entry[1] > most[1]) {
            most = entry;
        }
        if (entry[1] < least[1]) {
            least = entry;
        }
    }
    const high = most[1] > FACTOR * mean && surprising(most[1], mean);
    const low = least[1] < mean / 2 && surprising(least[1], mean);
    return { mean, most, least, high, low, factor: mean > 0 ? most[1] / mean : null, share: sum > 0 ? most[1] / sum : null };
}

// How evenly requests and connections lie on the slots that were ready all the while.
export function weigh(status, readings) {
    const steady = status.slots.filter((slot) => readings.slots.get(slot.slot).steady);
    if (steady.length < 2) {
        return { kind: "alone", text: steady.length ? "one slot to look at" : "no slot to look at" };
    }
    const requests = clump(steady.map((slot) => [slot.slot, readings.slots.get(slot.slot).served]));
    const connections = clump(steady.map((slot) => [slot.slot, slot.connections]));
    if (requests.mean === 0 && readings.total.inFlight === 0) {
        return { kind: "idle", text: "no requests in the last 10 s" };
    }
    for (const [found, what] of [[requests, "requests"], [connections, "connections"]]) {
        // Two clients on four workers cannot be balanced by anybody.
        const enough = readings.total.connections + readings.total.entered >= 4 * steady.length;
        if (found.high && enough) {
            const part = steady.length <= 10 ? ` (${percent(found.share)})` : "";
            return { kind: "uneven", text: `slot ${found.most[0]} has ${times(found.factor)} its share of the ${what}${part}` };
        }
        if (found.low && enough) {
            const part = found.least[1] === 0 ? "none" : `${times(found.least[1] / found.mean)} its share`;
            return { kind: "uneven", text: `slot ${found.least[0]} has ${part} of the ${what}` };
        }
    }
    if (requests.mean < 5) {
        return { kind: "light", text: "too few requests to judge" };
    }
    return { kind: "even", text: `even: the busiest slot has ${times(requests.factor)} its share of the requests` };
}
