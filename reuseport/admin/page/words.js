// Numbers, durations and lists as words. A dash stands for "not known", which is not zero.

const NONE = "–";
const NB = "\u00a0"; // a number and its unit stay on one line
const known = (n) => typeof n === "number" && !Number.isNaN(n);

// Written out, because Intl's formatter costs more than all else when a table of 64 slots is written every second.
function grouped(n) {
    const digits = n.toFixed(0);
    return digits.length < 4 ? digits : digits.replace(/\B(?=(\d{3})+$)/g, ",");
}

export const whole = (n) => (known(n) ? grouped(n) : NONE);

export function rate(n) {
    if (!known(n)) {
        return NONE;
    }
    return n > 0 && n < 9.95 ? n.toFixed(1) : grouped(n);
}

export const cores = (n) => (known(n) ? n.toFixed(n < 9.995 ? 2 : 1) : NONE);
export const percent = (n) => (known(n) ? `${(100 * n).toFixed(0)}${NB}%` : NONE);
export const times = (n) => (known(n) ? `${n.toFixed(n < 9.995 ? 2 : 0)}×` : NONE);

// What passes within a request: from microseconds to some seconds.
export function brief(seconds) {
    if (!known(seconds)) {
        return NONE;
    }
    const ms = 1000 * seconds;
    if (ms > 0 && ms < 0.095) {
        return `${(1000 * ms).toFixed(0)}${NB}µs`;
    }
    if (ms < 9.95) {
        return `${ms.toFixed(1)}${NB}ms`;
    }
    if (ms < 999.5) {
        return `${ms.toFixed(0)}${NB}ms`;
    }
    return `${seconds.toFixed(seconds < 9.95 ? 1 : 0)}${NB}s`;
}

// What passes in the life of a worker: its two largest units.
export function span(seconds) {
    if (!known(seconds)) {
        return NONE;
    }
    const s = Math.max(0, Math.floor(seconds));
    if (s < 60) {
        return `${s}${NB}s`;
    }
    const [large, small, of, names] =
        s < 3600 ? [60, 1, 60, ["min", "s"]] : s < 86400 ? [3600, 60, 60, ["h", "min"]] : [86400, 3600, 24, ["d", "h"]];
    const rest = Math.floor(s / small) % of;
    return `${Math.floor(s / large)}${NB}${names[0]}${rest ? `${NB}${rest}${NB}${names[1]}` : ""}`;
}

// The same in one unit, for the table.
export function age(seconds) {
    if (!known(seconds)) {
        return NONE;
    }
    const s = Math.max(0, Math.floor(seconds));
    for (const [size, name] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
        if (s >= 2 * size) {
            return `${Math.floor(s / size)}${NB}${name}`;
        }
    }
    return `${s}${NB}s`;
}

export function bytes(n) {
    if (!known(n)) {
        return NONE;
    }
    const mib = n / 1048576;
    if (mib < 9.95) {
        return `${mib.toFixed(1)}${NB}MiB`;
    }
    return mib < 1023.5 ? `${mib.toFixed(0)}${NB}MiB` : `${(mib / 1024).toFixed(mib < 10189 ? 2 : 0)}${NB}GiB`;
}

const two = (n) => String(n).padStart(2, "0");

export function clock(epoch) {
    const t = new Date(1000 * epoch);
    return `${two(t.getHours())}:${two(t.getMinutes())}:${two(t.getSeconds())}`;
}

export const utc = (epoch) => new Date(1000 * epoch).toISOString();

export function series(words) {
    return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}

// "Slot 2", "Slots 2, 3 and 9", "12 slots": more than five numbers are no longer read.
export function slots(numbers) {
    if (numbers.length === 1) {
        return `Slot ${numbers[0]}`;
    }
    return numbers.length <= 5 ? `Slots ${series(numbers.map(String))}` : `${numbers.length} slots`;
}
