// The table of slots: sortable, walked with the arrow keys, written in place.

import { latency } from "./figures.js";
import { flag, get, icon, make, put, redraw } from "./nodes.js";
import { age, brief, bytes, percent, rate, times, whole } from "./words.js";

// `by` is what a column is sorted by, `text` what it says; `wide` hides it where there is little room (0: first).
const COLUMNS = [
    { head: "Slot", by: (s) => s.slot, text: (s) => String(s.slot), of: "slot" },
    { head: "State", by: (s) => gravity(s), text: stateWords, of: "state", long: true },
    { head: "Gen", title: "generation", by: (s) => s.generation, text: (s) => String(s.generation), wide: 3, of: "number narrow" },
    { head: "Pid", by: (s) => s.pid, text: (s) => (s.pid === null ? "–" : String(s.pid)), wide: 1 },
    { head: "Age", title: "since the worker was started", by: (s, _r, now) => since(s, now), text: (s, _r, now) => age(since(s, now)), wide: 1 },
    { head: "Req/s", by: (_s, r) => r.rate, text: (_s, r) => rate(r.rate) },
    { head: "× mean", by: (_s, r) => r.rate, text: (_s, r, _n, mean) => times(mean > 0 && r.rate !== null ? r.rate / mean : null), wide: 2 },
    { head: "In flight", title: "requests in flight", by: (s) => s.in_flight, text: (s) => whole(s.in_flight), wide: 3 },
    { head: "Conns", title: "open connections", by: (s) => s.connections, text: (s) => whole(s.connections) },
    { head: "Queue", title: "connections in the accept queue", by: (s) => s.accept_queue.length, text: (s) => whole(s.accept_queue.length), of: "number narrow" },
    { head: "Lag", title: "lag of the event loop", by: (s) => alive(s, s.lag), text: (s) => brief(alive(s, s.lag)), wide: 3 },
    { head: "p50", by: (_s, r) => r.p50, text: (_s, r) => latency(r.p50), wide: 2 },
    { head: "p95", by: (_s, r) => r.p95, text: (_s, r) => latency(r.p95), wide: 3 },
    { head: "p99", by: (_s, r) => r.p99, text: (_s, r) => latency(r.p99), wide: 2 },
    { head: "5xx/s", by: (_s, r) => r.errors, text: (_s, r) => rate(r.errors), wide: 2, of: "number narrow" },
    { head: "CPU", by: (_s, r) => r.cpu, text: (_s, r) => percent(r.cpu), of: "number narrow" },
    { head: "RSS", by: (s) => s.rss, text: (s) => bytes(s.rss), wide: 2 },
    { head: "PSS", by: (s) => s.pss, text: (s) => bytes(s.pss), wide: 1 },
    { head: "Restarts", title: "after a crash or a hang", by: (s) => s.restarts, text: (s) => whole(s.restarts), wide: 2 },
    { head: "Last exit", by: (s) => s.last_exit, text: (s) => ending(s), of: "words", wide: 0, long: true },
];

const OUT_OF_SIGHT = 5;
const STATES = ["stalled", "backoff", "dying", "starting", "draining", "drained", "empty", "ready"];

export const shownState = (slot) => (slot.wanted || slot.pid !== null ? slot.state : "empty");

const gravity = (slot) => STATES.indexOf(shownState(slot));
const since = (slot, now) => (slot.started_at === null ? null : now - slot.started_at);
const alive = (slot, value) => (slot.pid === null ? null : value);
const ending = (slot) => (slot.last_exit ?? "").replace(/^worker in slot \d+ \(pid \d+\) (was )?/, "");

// The state, and what goes on beside it.
export function stateWords(slot, _reading, now) {
    const words = [slot.wanted ? slot.state : slot.foster === null ? "not wanted" : "scaled away"];
    if (slot.state === "stalled" && slot.heartbeat_age !== null) {
        words[0] += ` ${age(slot.heartbeat_age)}`;
    }
    if (slot.executes !== null) {
        words[0] += ` in ${slot.executes}`;
    }
    if (slot.retry_at !== null) {
        words[0] += `, again in ${age(slot.retry_at - now)}`;
    }
    if (slot.foster !== null) {
        words.push(`fostered by ${slot.foster}`);
    }
    if (slot.successor) {
        words.push(`generation ${slot.successor.generation} ${slot.successor.state}`);
    }
    if (slot.predecessors.length) {
        words.push(`${slot.predecessors.length} ${slot.predecessors[0].state}`);
    }
    return words.join(" · ");
}

export class Slots {
    #rows = new Map();
    #order = [];
    #sort = { column: 1, down: false }; // who is in trouble comes first, else by number
    #body = document.querySelector("#slots tbody");
    #heads = [];
    #seen = null;
    #turn = 0;
    // Rows scrolled out of sight are written in turns: 64 rows of 20 cells are most of the work of a second.
    #sight = new IntersectionObserver((entries) => this.#look(entries), { root: document.querySelector("#slots .scroll"), rootMargin: "60px" });

    // `open(slot)`: somebody wants to see that slot.
    constructor(open) {
        const head = document.querySelector("#slots thead tr");
        COLUMNS.forEach((column, index) => {
            const th = make("th", kind(column));
            th.scope = "col";
            const button = make("button", "", column.head);
            button.type = "button";
            button.title = column.title ?? "";
            button.addEventListener("click", () => this.#sortBy(index));
            th.append(button);
            head.append(th);
            this.#heads.push(th);
        });
        this.#markSort();
        this.#body.addEventListener("click", (event) => {
            const row = event.target.closest("tr");
            // Who has dragged over a row to copy from it does not want a dialog.
            const copying = !getSelection().isCollapsed && getSelection().containsNode(row, true);
            if (event.target.closest("button") || !copying) {
                open(Number(row.dataset.slot));
            }
        });
        this.#body.addEventListener("keydown", (event) => this.#walk(event));
        this.#body.addEventListener("focusin", (event) => this.#remember(event.target.closest("tr")));
    }

    show(status, readings) {
        this.#seen = { status, readings };
        const ready = status.slots.filter((slot) => slot.wanted && slot.state === "ready");
        const rates = ready.map((slot) => readings.slots.get(slot.slot).rate ?? 0);
        const mean = rates.length ? rates.reduce((a, b) => a + b, 0) / rates.length : 0;
        this.#seen.mean = mean;
        this.#turn += 1;
        for (const slot of status.slots) {
            const row = this.#rows.get(slot.slot) ?? this.#add(slot.slot);
            if (row.seen || row.state !== shownState(slot) || (this.#turn + slot.slot) % OUT_OF_SIGHT === 0) {
                this.#write(row, slot);
            }
        }
        for (const number of this.#rows.keys()) {
            if (!readings.slots.has(number)) {
                this.#sight.unobserve(this.#rows.get(number).node);
                this.#rows.get(number).node.remove();
                this.#rows.delete(number);
            }
        }
        // A row that is pointed at or walked through stays where it is.
        if (!this.#body.matches(":hover") && !this.#body.contains(document.activeElement)) {
            this.#arrange();
        }
    }

    #write(row, slot) {
        const { status, readings, mean } = this.#seen;
        const reading = readings.slots.get(slot.slot);
        const state = shownState(slot);
        if (row.state !== state) {
            row.state = state;
            flag(row.node, "data-state", state);
            redraw(row.icon, state);
        }
        for (let i = 0; i < COLUMNS.length; i++) {
            const text = COLUMNS[i].text(slot, reading, status.now, mean);
            if (row.texts[i] !== text) {
                row.texts[i] = text;
                put(row.cells[i], text);
                if (COLUMNS[i].long) {
                    row.cells[i].title = text;
                }
            }
        }
    }

    #look(entries) {
        for (const { target, isIntersecting } of entries) {
            const number = Number(target.dataset.slot);
            const row = this.#rows.get(number);
            const slot = this.#seen?.status.slots.find((one) => one.slot === number);
            if (row && slot) {
                row.seen = isIntersecting;
                this.#write(row, slot);
            }
        }
    }

    focus() {
        (this.#body.querySelector("button[tabindex='0']") ?? this.#body.querySelector("button"))?.focus();
    }

    #add(number) {
        const node = make("tr");
        node.dataset.slot = number;
        const cells = [];
        let drawn;
        COLUMNS.forEach((column, index) => {
            const cell = make(index === 0 ? "th" : "td", kind(column));
            let text = cell;
            if (index === 0) {
                cell.scope = "row";
                text = make("button");
                text.type = "button";
                text.tabIndex = this.#rows.size === 0 ? 0 : -1;
                text.setAttribute("aria-haspopup", "dialog");
                cell.append(text);
            } else if (column.of === "state") {
                drawn = icon("empty");
                text = make("span");
                cell.append(drawn, text);
            }
            cells.push(text);
            node.append(cell);
        });
        const row = { node, cells, icon: drawn, texts: [], state: null, seen: true };
        this.#sight.observe(node);
        this.#rows.set(number, row);
        this.#body.append(node);
        return row;
    }

    // ── sorting ─────────────────────────────────────────────────────────────────────────────────────────────────

    #sortBy(index) {
        const same = this.#sort.column === index;
        // Numbers are sorted for the largest, names and states for the first.
        const down = same ? !this.#sort.down : (COLUMNS[index].of ?? "number").startsWith("number");
        this.#sort = { column: index, down };
        this.#markSort();
        this.#arrange();
    }

    #markSort() {
        this.#heads.forEach((th, index) => {
            const direction = this.#sort.down ? "descending" : "ascending";
            flag(th, "aria-sort", index === this.#sort.column ? direction : "none");
        });
    }

    #arrange() {
        if (this.#seen === null) {
            return;
        }
        const { status, readings } = this.#seen;
        const { by } = COLUMNS[this.#sort.column];
        const keyed = status.slots.map((slot) => [by(slot, readings.slots.get(slot.slot), status.now), slot.slot]);
        const sign = this.#sort.down ? -1 : 1;
        keyed.sort(([a, m], [b, n]) => sign * compare(a, b) || m - n);
        const order = keyed.map(([, number]) => number);
        if (order.some((number, index) => number !== this.#order[index]) || order.length !== this.#order.length) {
            this.#order = order;
            this.#body.append(...order.map((number) => this.#rows.get(number).node));
        }
    }

    // ── keyboard: one stop for the whole table, arrows within ───────────────────────────────────────────────────

    #walk(event) {
        const row = event.target.closest("tr");
        const next = {
            ArrowDown: row.nextElementSibling,
            ArrowUp: row.previousElementSibling,
            Home: this.#body.firstElementChild,
            End: this.#body.lastElementChild,
        }[event.key];
        if (next) {
            event.preventDefault();
            next.querySelector("button").focus();
        }
    }

    #remember(row) {
        for (const button of this.#body.querySelectorAll("button[tabindex='0']")) {
            button.tabIndex = -1;
        }
        row.querySelector("button").tabIndex = 0;
    }
}

const kind = (column) => [column.of ?? "number", column.wide !== undefined ? `wide${column.wide}` : ""].join(" ").trim();

// What is not known comes last in either direction's natural reading: as less than anything.
function compare(a, b) {
    if (a === b) {
        return 0;
    }
    if (a === null || a === undefined) {
        return -1;
    }
    if (b === null || b === undefined) {
        return 1;
    }
    return typeof a === "string" ? a.localeCompare(b) : a - b;
}
