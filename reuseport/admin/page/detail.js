// Everything about one slot, live, with what can be done to it.

import { ask, attempt, open } from "./dialogs.js";
import { latency } from "./figures.js";
import { get, make, put, show } from "./nodes.js";
import { quantile } from "./readings.js";
import { stateWords } from "./slots.js";
import { brief, bytes, clock, percent, rate, span, whole } from "./words.js";

const three = (counts) => [0.5, 0.95, 0.99].map((q) => latency(quantile(counts, q))).join(" / ");
const worker = (one) => `pid ${one.pid}, generation ${one.generation}, ${one.state}`;

const FACTS = [
    ["Worker", (s, _r, now) => (s.pid === null ? "none" : `pid ${s.pid}, generation ${s.generation}, since ${clock(s.started_at)} (${span(now - s.started_at)})`)],
    ["Successor", (s) => (s.successor ? worker(s.successor) : "none")],
    ["Predecessors", (s) => s.predecessors.map(worker).join("; ") || "none"],
    ["Waits for", (s) => s.waiting.map((one) => `${one.requests} requests of pid ${one.pid}, the oldest ${one.oldest}`).join("; ") || "nothing"],
    ["Fostered by", (s) => (s.foster === null ? "nobody" : `slot ${s.foster}`)],
    ["Requests", (s, r) => `${rate(r.rate)} /s; ${whole(s.requests)} in all, ${whole(s.in_flight)} in flight`],
    ["Responses", (s) => Object.entries(s.responses).map(([name, n]) => `${name} ${whole(n)}`).join(", ")],
    ["Abandoned", (s) => `${whole(s.abandoned)} by their clients`],
    ["p50 / p95 / p99", (s, r) => `${three(r.durations)} in 10 s; ${three(s.durations.counts)} in all`],
    ["Connections", (s) => `${whole(s.connections)} open, ${whole(s.websockets)} WebSocket; ${whole(s.accepted)} accepted, ${whole(s.stolen)} of them from blocked siblings, ${whole(s.assigned)} assigned by the kernel`],
    ["Accept queue", (s) => `${whole(s.accept_queue.length)} of ${whole(s.accept_queue.limit)}`],
    ["Event loop", (s) => `lag ${brief(s.pid === null ? null : s.lag)}, heartbeat ${brief(s.heartbeat_age)} ago`],
    ["CPU", (s, r) => `${percent(r.cpu)}; ${span(s.cpu)} in all`],
    ["Memory", (s) => `RSS ${bytes(s.rss)}, PSS ${bytes(s.pss)}`],
    ["Open files", (s) => whole(s.open_fds)],
    ["Handoffs", (s) => `${whole(s.handoffs.sent)} sent, ${whole(s.handoffs.received)} received, ${whole(s.handoffs.refused)} refused, ${whole(s.handoffs.rebalanced)} rebalanced, ${whole(s.handoffs.rescued)} rescued`],
    ["Sessions", (s) => `${whole(s.sticky.hits)} hit, ${whole(s.sticky.moved)} moved, ${whole(s.sticky.missed)} missed`],
    ["Starts", (s) => `${whole(s.spawns)}, of which ${whole(s.restarts)} after a crash or a hang`],
    ["Last exit", (s) => s.last_exit ?? "none"],
];

export class Detail {
    #dialog = get("slot-dialog");
    #number = null;
    #facts = [];
    #slot = null;
    #session;
    #notice;

    constructor(session, notice) {
        this.#session = session;
        this.#notice = notice;
        for (const [name] of FACTS) {
            const value = make("dd");
            get("slot-facts").append(make("dt", "", name), value);
            this.#facts.push(value);
        }
        get("slot-stacks").addEventListener("click", () => this.#stacks());
        get("slot-restart").addEventListener("click", () => this.#restart());
        get("slot-drain").addEventListener("click", () => this.#drain());
    }

    open(number, status, readings) {
        this.#number = number;
        show(get("stacks"), false);
        this.show(status, readings);
        open(this.#dialog);
        get("slot-title").parentElement.querySelector("button").focus();
    }

    show(status, readings) {
        if (this.#number === null || (!this.#dialog.open && this.#slot?.slot === this.#number && status === null)) {
            return;
        }
        const slot = status.slots.find((one) => one.slot === this.#number);
        this.#slot = slot;
        put(get("slot-title"), `Slot ${this.#number}`);
        if (!slot) {
            put(get("slot-state"), "This slot has been scaled away.");
            show(get("slot-actions"), false);
            return;
        }
        const reading = readings.slots.get(slot.slot);
        put(get("slot-state"), stateWords(slot, reading, status.now));
        FACTS.forEach(([, text], index) => put(this.#facts[index], text(slot, reading, status.now)));
        show(get("slot-actions"), this.#session.actions);
        const drained = slot.state === "drained";
        show(get("slot-drain"), !drained);
        put(get("slot-restart"), drained ? "Start…" : "Restart…");
        get("slot-stacks").disabled = slot.pid === null;
    }

    async #stacks() {
        const number = this.#number;
        await attempt(this.#dialog, async () => {
            const { pid, stacks } = await this.#session.act(`slots/${number}/stacks`);
            if (number === this.#number) {
                const text = get("stacks");
                put(text, `pid ${pid}\n${stacks}`);
                show(text, true);
                text.focus();
            }
        });
    }

    #restart() {
        const number = this.#number;
        const drained = this.#slot.state === "drained";
        ask({
            title: drained ? `Start slot ${number}?` : `Restart slot ${number}?`,
            text: drained
                ? "A worker is started; when it is ready it takes its listener back."
                : "A successor is started; when it is ready, the worker finishes what it has and ends. Idle connections go over.",
            yes: drained ? "Start" : "Restart",
            run: async () => {
                await this.#session.act(`slots/${number}/restart`);
                this.#notice(`Slot ${number}: restart asked for`);
            },
        });
    }

    #drain() {
        const number = this.#number;
        ask({
            title: `Drain slot ${number}?`,
            text: "Its worker finishes what it has and ends; siblings accept for the slot until it is started again.",
            yes: "Drain",
            run: async () => {
                await this.#session.act(`slots/${number}/drain`);
                this.#notice(`Slot ${number}: drain asked for`);
            },
        });
    }
}
