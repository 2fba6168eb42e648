// From counters to readings: rates, percentiles and shares over the last seconds. Counts only, touches no document.

export const BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, Infinity];

const RATE_WINDOW = 5;
// Percentiles and balance need more requests than a rate to mean anything.
const WIDE_WINDOW = 10;

// The value below which the share `q` of the counted lies, linear within its bucket; null when nothing was counted.
export function quantile(counts, q) {
    let total = 0;
    for (const n of counts) {
        total += n;
    }
    if (total === 0) {
        return null;
    }
    let left = q * total;
    for (let i = 0; i < counts.length; i++) {
        if (left <= counts[i] && counts[i] > 0) {
            const from = i === 0 ? 0 : BOUNDS[i - 1];
            return BOUNDS[i] === Infinity ? Infinity : from + ((BOUNDS[i] - from) * left) / counts[i];
        }
        left -= counts[i];
    }
    return Infinity;
}

// Counters never run backwards within one launcher; what does is another launcher's, and no delta.
const delta = (now, then) => (now !== null && then !== null && now >= then ? now - then : null);
const per = (amount, seconds) => (amount === null || seconds <= 0 ? null : amount / seconds);

function difference(now, then) {
    const counts = new Array(now.length);
    for (let i = 0; i < now.length; i++) {
        counts[i] = Math.max(0, now[i] - then[i]);
    }
    return counts;
}

function add(sums, counts) {
    for (let i = 0; i < counts.length; i++) {
        sums[i] += counts[i];
    }
}

const added = (a, b) => (b === null || b === undefined ? a : (a ?? 0) + b);

export class Readings {
    #kept = [];

    forget() {
        this.#kept = [];
    }

    // Readings of this status against those before it.
    take(status) {
        const kept = this.#kept;
        kept.push({ uptime: status.uptime, slots: new Map(status.slots.map((slot) => [slot.slot, slot])), overflows: status.kernel.listen_overflows });
        while (kept.length > 2 && status.uptime - kept[1].uptime >= WIDE_WINDOW - 0.5) {
            kept.shift();
        }
        const near = kept.find((old) => status.uptime - old.uptime < RATE_WINDOW + 0.5) ?? kept[0];
        // The stream opens with a status of its own: what came a moment ago is no second to measure.
        const last = kept.findLast((old) => status.uptime - old.uptime > 0.7) ?? kept.at(-1);
        return read(status, near, kept[0], last);
    }
}

function read(status, near, wide, last) {
    const slots = new Map();
    const total = {
        rate: null, errors: null, accepted: null, cpu: null, served: 0, failed: 0, entered: 0,
        inFlight: 0, connections: 0, websockets: 0, queue: 0, lag: null, lagSlot: null,
        rss: null, pss: null, restarts: 0, overflows: delta(status.kernel.listen_overflows, wide.overflows), durations: new Array(BOUNDS.length).fill(0), moment: moment(),
    };
    for (const slot of status.slots) {
        const reading = readSlot(slot, near, wide, status.uptime);
        slots.set(slot.slot, reading);
        for (const name of ["rate", "errors", "accepted", "cpu"]) {
            total[name] = added(total[name], reading[name]);
        }
        total.served += reading.served;
        total.failed += reading.failed;
        total.entered += reading.entered;
        total.inFlight += slot.in_flight;
        total.connections += slot.connections;
        total.websockets += slot.websockets;
        total.queue += slot.accept_queue.length;
        total.restarts += slot.restarts;
        total.rss = added(total.rss, slot.rss);
        total.pss = added(total.pss, slot.pss);
        add(total.durations, reading.durations);
        // Who has no worker has no loop to lag.
        if (slot.pid !== null && slot.lag >= (total.lag ?? 0)) {
            total.lag = slot.lag;
            total.lagSlot = slot.slot;
        }
        glance(total.moment, slot, last, near);
    }
    const seconds = status.uptime - last.uptime;
    for (const name of ["rate", "errors", "cpu"]) {
        total.moment[name] = seconds > 0 ? total.moment[name] / seconds : null;
    }
    percentiles(total, total.durations);
    return { slots, total };
}

function readSlot(slot, near, wide, uptime) {
    const early = wide.slots.get(slot.slot);
    const recent = near.slots.get(slot.slot) ?? early;
    const seconds = uptime - near.uptime;
    const reading = {
        rate: null, errors: null, accepted: null, cpu: null, served: 0, failed: 0, entered: 0,
        durations: early ? difference(slot.durations.counts, early.durations.counts) : [],
        // Fit to be compared with its siblings: in service all the time that is looked at.
        steady: early !== undefined && slot.wanted && slot.state === "ready" && early.state === "ready",
    };
    if (recent) {
        reading.rate = per(delta(slot.requests, recent.requests), seconds);
        reading.errors = per(delta(slot.responses["5xx"], recent.responses["5xx"]), seconds);
        reading.accepted = per(delta(slot.accepted, recent.accepted), seconds);
        reading.cpu = per(delta(slot.cpu, recent.cpu), seconds);
    }
    if (early) {
        reading.served = delta(slot.requests, early.requests) ?? 0;
        reading.failed = delta(slot.responses["5xx"], early.responses["5xx"]) ?? 0;
        reading.entered = delta(slot.accepted, early.accepted) ?? 0;
    }
    percentiles(reading, reading.durations);
    return reading;
}

function percentiles(reading, counts) {
    reading.p50 = quantile(counts, 0.5);
    reading.p95 = quantile(counts, 0.95);
    reading.p99 = quantile(counts, 0.99);
}

// ── what the charts draw: one second, and the percentiles of five ───────────────────────────────────────────────

function moment() {
    return { rate: 0, errors: 0, cpu: 0, durations: new Array(BOUNDS.length).fill(0) };
}

function glance(sums, slot, last, near) {
    const then = last.slots.get(slot.slot);
    if (then) {
        sums.rate += delta(slot.requests, then.requests) ?? 0;
        sums.errors += delta(slot.responses["5xx"], then.responses["5xx"]) ?? 0;
        sums.cpu += delta(slot.cpu, then.cpu) ?? 0;
    }
    const recent = near.slots.get(slot.slot);
    if (recent) {
        add(sums.durations, difference(slot.durations.counts, recent.durations.counts));
    }
}

// The same from two totals of the history.
export function between(then, now, early) {
    const seconds = now.time - then.time;
    return {
        rate: per(delta(now.requests, then.requests), seconds),
        errors: per(delta(now.errors, then.errors), seconds),
        cpu: per(delta(now.cpu, then.cpu), seconds),
        durations: difference(now.durations, early.durations),
    };
}
