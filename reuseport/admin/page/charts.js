// The charts: five minutes in one-second steps, one cursor for all, a line where something happened.

import { get, flag, put } from "./nodes.js";
import { between, quantile } from "./readings.js";
import { brief, bytes, clock, cores, rate, whole } from "./words.js";

const SPAN = 300;
const LAST = 5; // samples that the percentiles of one sample look back

// Steps of an axis of bytes.
const POWERS = Array.from({ length: 24 }, (_, power) => 1048576 * 2 ** power);

// Series by chart: name of the column, class of its key (whose colour it takes), dash.
const CHARTS = [
    { id: "f-requests", words: rate, series: [["rate", "k1"], ["errors", "k2", [2, 3]]] },
    { id: "f-latency", words: brief, series: [["p50", "k1"], ["p95", "k3", [5, 3]], ["p99", "k2", [2, 3]]] },
    { id: "f-work", words: whole, series: [["inFlight", "k1"], ["queue", "k2", [2, 3]]] },
    { id: "f-connections", words: whole, series: [["connections", "k1"]] },
    { id: "f-lag", words: brief, series: [["lag", "k1"]] },
    { id: "f-cpu", words: cores, series: [["cpu", "k1"]] },
    { id: "f-memory", words: bytes, incrs: POWERS, series: [["rss", "k1"]] },
];
const COLUMNS = ["time", ...CHARTS.flatMap((chart) => chart.series.map(([name]) => name))];

const MARKS = {
    crashed: "bad", killed: "bad", could_not_start: "bad", reload_aborted: "bad",
    reload_begun: "work", reload_done: "work",
    stalled: "warn",
};

// An infinite percentile lies in the histogram's last, open bucket: drawn at its lower bound.
const drawable = (value) => (value === Infinity ? 10 : value);

export class Charts {
    #columns = Object.fromEntries(COLUMNS.map((name) => [name, []]));
    #marks = [];
    #drawn = [];
    #colours = {};
    #onCursor;
    #now = 0;

    // `onCursor(row)`: the values under the cursor by column name, or null when it has left.
    constructor(onCursor) {
        this.#onCursor = onCursor;
        for (const chart of CHARTS) {
            this.#drawn.push({ ...chart, plot: this.#plot(chart), host: this.#host(chart) });
        }
        new ResizeObserver(() => this.#resize()).observe(get("f-requests"));
        matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.retint());
        this.retint();
    }

    #host(chart) {
        return get(chart.id).querySelector(".chart");
    }

    #plot(chart) {
        const host = this.#host(chart);
        const colour = (name) => () => this.#colours[name];
        const axis = { stroke: colour("soft"), font: "10px system-ui, sans-serif", ticks: { show: false }, gap: 4 };
        return new uPlot(
            {
                width: Math.max(80, host.clientWidth),
                height: Math.max(40, host.clientHeight),
                padding: [6, 1, 5, 0],
                legend: { show: false },
                cursor: { sync: { key: "all" }, drag: { setScale: false, x: false, y: false }, y: false, points: { size: 5 } },
                scales: {
                    x: { time: true, range: () => [this.#now - SPAN, this.#now] },
                    // From zero, and never so tight that noise looks like a mountain range.
                    y: { range: (_plot, _low, high) => [0, high > 0 ? 1.1 * high : 1] },
                },
                axes: [
                    { ...axis, size: 1, values: () => [], splits: () => [-4, -3, -2, -1].map((m) => this.#now + 60 * m), grid: { stroke: colour("line"), width: 1 } },
                    { ...axis, ...(chart.incrs && { incrs: chart.incrs }), size: 46, space: 26, values: (_plot, splits) => splits.map((v) => (v === 0 ? "0" : chart.words(v))), grid: { stroke: colour("line"), width: 1 } },
                ],
                series: [
                    {},
                    ...chart.series.map(([, key, dash]) => ({ stroke: colour(key), width: 1.25, dash, points: { show: false }, spanGaps: false })),
                ],
                hooks: {
                    drawAxes: [(plot) => this.#drawMarks(plot)],
                    setCursor: [(plot) => this.#cursor(plot)],
                },
            },
            [[], ...chart.series.map(() => [])],
            host,
        );
    }

    // ── data ────────────────────────────────────────────────────────────────────────────────────────────────────

    load(samples) {
        for (const name of COLUMNS) {
            this.#columns[name].length = 0;
        }
        for (let i = 1; i < samples.length; i++) {
            const now = samples[i];
            const seen = between(samples[i - 1], now, samples[Math.max(0, i - LAST)]);
            this.#append({
                time: now.time, inFlight: now.in_flight, queue: now.accept_queue, connections: now.connections,
                lag: now.lag, rss: now.rss, ...seen,
            });
        }
        this.#now = samples.at(-1)?.time ?? 0;
    }

    take(status, readings) {
        const { total } = readings;
        this.#now = status.now;
        this.#dropFuture();
        // The first status after a load has nothing to be compared with; the history told that second already.
        if (total.moment.rate !== null && status.now - (this.#columns.time.at(-1) ?? 0) > 0.5) {
            this.#append({ time: status.now, ...total, ...total.moment });
        }
    }

    // The clock may have been set back: a chart goes one way.
    #dropFuture() {
        const columns = this.#columns;
        while (columns.time.length > 0 && columns.time.at(-1) > this.#now) {
            for (const name of COLUMNS) {
                columns[name].pop();
            }
        }
        this.#marks = this.#marks.filter((mark) => mark.time <= this.#now + SPAN);
    }

    #append(sample) {
        const row = {
            ...sample,
            p50: drawable(quantile(sample.durations, 0.5)),
            p95: drawable(quantile(sample.durations, 0.95)),
            p99: drawable(quantile(sample.durations, 0.99)),
        };
        const columns = this.#columns;
        for (const name of COLUMNS) {
            columns[name].push(row[name]);
        }
        while (columns.time.length > 0 && columns.time[0] < row.time - SPAN - 2) {
            for (const name of COLUMNS) {
                columns[name].shift();
            }
        }
    }

    mark(record) {
        if (record.kind in MARKS) {
            this.#marks.push({ time: record.time, tone: MARKS[record.kind] });
        }
    }

    forget() {
        this.load([]);
        this.#marks = [];
    }

    // ── drawing ─────────────────────────────────────────────────────────────────────────────────────────────────

    draw() {
        while (this.#marks.length && this.#marks[0].time < this.#now - SPAN) {
            this.#marks.shift();
        }
        for (const chart of this.#drawn) {
            chart.plot.setData([this.#columns.time, ...chart.series.map(([name]) => this.#columns[name])]);
        }
    }

    // For those who do not see the lines.
    describe() {
        for (const { host, series, words } of this.#drawn) {
            const [name] = series[0];
            const seen = this.#columns[name].filter((value) => value !== null);
            if (seen.length) {
                const title = host.parentElement.querySelector("h2").textContent;
                const range = `from ${words(Math.min(...seen))} to ${words(Math.max(...seen))}, now ${words(seen.at(-1))}`;
                flag(host, "aria-label", `${title} over five minutes: ${range}`);
            }
        }
    }

    #drawMarks(plot) {
        const { ctx, bbox } = plot;
        ctx.save();
        ctx.lineWidth = devicePixelRatio;
        for (const { time, tone } of this.#marks) {
            const x = Math.round(plot.valToPos(time, "x", true));
            if (x < bbox.left) {
                continue;
            }
            ctx.strokeStyle = this.#colours[tone];
            ctx.setLineDash({ bad: [], work: [4, 3], warn: [1, 3] }[tone].map((length) => length * devicePixelRatio));
            ctx.beginPath();
            ctx.moveTo(x, bbox.top);
            ctx.lineTo(x, bbox.top + bbox.height);
            ctx.stroke();
        }
        ctx.restore();
    }

    #cursor(plot) {
        // The cursor is synchronous in all charts; one of them speaks.
        if (plot !== this.#drawn[0]?.plot) {
            return;
        }
        const index = plot.cursor.idx;
        if (index === null || index === undefined || plot.cursor.left < 0) {
            put(get("span-at"), "");
            this.#onCursor(null);
            return;
        }
        put(get("span-at"), clock(this.#columns.time[index]));
        this.#onCursor(Object.fromEntries(COLUMNS.map((name) => [name, this.#columns[name][index]])));
    }

    #resize() {
        for (const { plot, host } of this.#drawn) {
            const width = host.clientWidth;
            const height = host.clientHeight;
            if (width > 0 && (width !== plot.width || height !== plot.height)) {
                plot.setSize({ width, height });
            }
        }
    }

    // A canvas knows no style sheet: the colours are read off elements that have them.
    retint() {
        const probe = (selector) => getComputedStyle(document.querySelector(selector)).color;
        for (const key of ["k1", "k2", "k3"]) {
            this.#colours[key] = probe(`.${key}`);
        }
        for (const tone of ["bad", "work", "warn"]) {
            this.#colours[tone] = probe(`.mark.${tone}`);
        }
        this.#colours.soft = probe(".span");
        this.#colours.line = getComputedStyle(get("f-requests")).borderLeftColor;
        for (const { plot } of this.#drawn) {
            plot.redraw(false, true);
        }
    }
}
