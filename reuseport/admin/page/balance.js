// The balance: one column for each slot, one row for each measure, a line at the mean. A clump is a column above the
// line; in words it stands beside the title.

import { flag, get, icon, make, put, redraw, show } from "./nodes.js";
import { percent, rate, times, whole } from "./words.js";

const MEASURES = [
    { name: "requests/s", words: rate, of: (_slot, reading) => reading.rate },
    { name: "connections", words: whole, of: (slot) => slot.connections },
    { name: "CPU", words: percent, of: (_slot, reading) => reading.cpu },
];
const FAR = 1.5;

export class Balance {
    #host = get("measures");
    #rows = [];
    #states = null;
    #cells = [];
    #numbers = [];
    #seen = null;
    #over = null;

    // `open(slot)`: somebody wants to see that slot.
    constructor(open) {
        for (const measure of MEASURES) {
            const row = make("div", "measure");
            const label = make("div", "label");
            const mean = make("span");
            const most = make("span", "most");
            label.append(make("b", "", measure.name), mean, most);
            const bars = make("div", "bars");
            const line = make("div", "mean");
            bars.append(line);
            row.append(label, bars);
            this.#host.append(row);
            this.#rows.push({ ...measure, bars, line, mean, most, fills: [] });
        }
        const row = make("div", "measure states");
        row.append(make("div", "label"));
        this.#states = make("div", "bars");
        row.append(this.#states);
        this.#host.append(row);
        this.#host.addEventListener("pointermove", (event) => this.#point(event.target.closest("[data-slot]")));
        this.#host.addEventListener("pointerleave", () => this.#point(null));
        this.#host.addEventListener("click", (event) => {
            const column = event.target.closest("[data-slot]");
            if (column) {
                open(Number(column.dataset.slot));
            }
        });
        new ResizeObserver(() => this.#label()).observe(this.#host);
    }

    show(status, readings, evenness) {
        this.#seen = { status, readings };
        this.#fit(status.slots);
        put(get("evenness"), evenness.text);
        flag(get("evenness"), "data-kind", evenness.kind);
        const judged = status.slots.filter((slot) => slot.wanted && slot.state === "ready");
        for (const row of this.#rows) {
            this.#draw(row, status, readings, judged);
        }
        status.slots.forEach((slot, index) => {
            const cell = this.#cells[index];
            const state = slot.wanted ? slot.state : "empty";
            flag(cell, "data-state", state);
            redraw(cell.firstElementChild, state);
        });
        this.#read();
    }

    #draw(row, status, readings, judged) {
        const value = (slot) => row.of(slot, readings.slots.get(slot.slot)) ?? 0;
        const mean = judged.length ? judged.reduce((sum, slot) => sum + value(slot), 0) / judged.length : 0;
        const values = status.slots.map(value);
        const most = Math.max(0, ...values);
        const top = Math.max(most, 1.6 * mean);
        values.forEach((height, index) => {
            const fill = row.fills[index];
            // A height, not a transform: 192 transforms are 192 paint chunks, and cost more than the layout they spare.
            const full = top > 0 ? `${Math.round((100 * height) / top)}%` : "0%";
            if (fill.full !== full) {
                fill.full = full;
                fill.node.style.height = full;
            }
            flag(fill.node, "data-far", String(mean > 0 && height > FAR * mean && row.name !== "CPU"));
        });
        const level = `${top > 0 ? (100 * (1 - mean / top)).toFixed(1) : 100}%`;
        if (row.level !== level) {
            row.level = level;
            row.line.style.top = level;
        }
        show(row.line, mean > 0);
        put(row.mean, `mean ${row.words(mean)}`);
        const where = status.slots[values.indexOf(most)];
        put(row.most, mean > 0 && judged.length > 1 ? `most ${times(most / mean)}, slot ${where.slot}` : "");
    }

    // As many columns as slots.
    #fit(slots) {
        if (slots.length === this.#numbers.length && slots.every((slot, index) => slot.slot === this.#numbers[index])) {
            return;
        }
        this.#numbers = slots.map((slot) => slot.slot);
        for (const row of this.#rows) {
            row.fills = slots.map((slot) => {
                const column = make("div", "column");
                column.dataset.slot = slot.slot;
                const node = make("i");
                column.append(node);
                return { column, node, full: "" };
            });
            row.bars.replaceChildren(...row.fills.map((fill) => fill.column), row.line);
        }
        this.#cells = slots.map((slot) => {
            const cell = make("div", "column");
            cell.dataset.slot = slot.slot;
            cell.append(icon("empty"), make("span"));
            return cell;
        });
        this.#states.replaceChildren(...this.#cells);
        this.#label();
    }

    // Numbers as often as they have room.
    #label() {
        const width = this.#states.clientWidth / Math.max(1, this.#numbers.length);
        const every = [1, 2, 4, 8, 16, 32].find((step) => step * width >= 20) ?? 64;
        flag(this.#host, "data-dense", String(width < 13));
        this.#cells.forEach((cell, index) => put(cell.lastElementChild, index % every === 0 ? String(this.#numbers[index]) : "\u00a0"));
    }

    #point(column) {
        const slot = column === null ? null : Number(column.dataset.slot);
        if (slot !== this.#over) {
            this.#over = slot;
            for (const node of this.#host.querySelectorAll(".column")) {
                node.classList.toggle("over", Number(node.dataset.slot) === slot);
            }
            this.#read();
        }
    }

    #read() {
        const slot = this.#seen?.status.slots.find((one) => one.slot === this.#over);
        if (!slot) {
            put(get("readout"), "");
            return;
        }
        const reading = this.#seen.readings.slots.get(slot.slot);
        const told = this.#rows.map((row) => `${row.words(row.of(slot, reading))} ${row.name}`);
        put(get("readout"), `slot ${slot.slot}, ${slot.state}: ${told.join(", ")}`);
    }
}
