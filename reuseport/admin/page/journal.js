// What just happened: the launcher's records, newest first, filtered by level, kind and slot.

import { get, icon, make, put } from "./nodes.js";
import { clock, utc, whole } from "./words.js";

const LEVELS = ["debug", "info", "warning", "error"];
const GLYPH = { debug: "debug", info: "info", warning: "attention", error: "bad" };
// As many as the launcher keeps.
const MOST = 1024;

export class Journal {
    records = []; // oldest first
    #nodes = [];
    #list = get("records");
    #level = get("level");
    #kind = get("kind");
    #slot = get("of-slot");

    constructor() {
        for (const filter of [this.#level, this.#kind, this.#slot]) {
            filter.addEventListener("change", () => this.#refilter());
        }
        this.#count();
    }

    forget() {
        this.records = [];
    }

    add(records, lost) {
        if (lost > 0) {
            this.#remark(`${whole(lost)} records left the launcher's memory before this page saw them`);
        }
        const fresh = [];
        for (const record of records) {
            const node = this.#node(record);
            this.records.push(record);
            this.#nodes.push({ record, node });
            this.#offer(this.#kind, record.kind, record.kind.replaceAll("_", " "));
            if (record.slot !== null) {
                this.#offer(this.#slot, String(record.slot), String(record.slot));
            }
            fresh.unshift(node);
        }
        this.#list.prepend(...fresh);
        this.#trim();
        this.#count();
    }

    // A line of the page's own, between the records.
    remark(text) {
        this.#remark(text);
        this.#count();
    }

    #remark(text) {
        const node = make("li", "remark", text);
        this.#list.prepend(node);
        this.#nodes.push({ record: null, node });
    }

    #node(record) {
        const node = make("li");
        node.dataset.level = record.level;
        const time = make("time", "", clock(record.time));
        time.dateTime = time.title = utc(record.time);
        const where = make("span", "where", record.slot === null ? "" : `slot ${record.slot}`);
        const level = icon(GLYPH[record.level] ?? "info");
        const said = make("span", "said", record.text);
        // The glyph is hidden from those who listen: the word is there for them.
        const unseen = record.level === "warning" || record.level === "error" ? [make("span", "unseen", `${record.level}: `)] : [];
        node.append(time, level, ...unseen, where, make("span", "kind", record.kind.replaceAll("_", " ")), said);
        node.hidden = !this.#wanted(record);
        return node;
    }

    #wanted(record) {
        return (
            LEVELS.indexOf(record.level) >= LEVELS.indexOf(this.#level.value) &&
            (this.#kind.value === "" || record.kind === this.#kind.value) &&
            (this.#slot.value === "" || String(record.slot) === this.#slot.value)
        );
    }

    #refilter() {
        for (const { record, node } of this.#nodes) {
            node.hidden = record !== null && !this.#wanted(record);
        }
        this.#count();
    }

    // Filters offer what has occurred, in order.
    #offer(filter, value, text) {
        const options = [...filter.options];
        if (options.some((option) => option.value === value)) {
            return;
        }
        const after = options.slice(1).find((option) => value.localeCompare(option.value, "en", { numeric: true }) < 0);
        filter.insertBefore(new Option(text, value), after ?? null);
    }

    #trim() {
        while (this.#nodes.length > MOST) {
            this.#nodes.shift().node.remove();
        }
        if (this.records.length > MOST) {
            this.records.splice(0, this.records.length - MOST);
        }
    }

    #count() {
        const all = this.#nodes.filter(({ record }) => record !== null);
        const shown = all.filter(({ node }) => !node.hidden).length;
        put(get("shown"), shown === all.length ? whole(shown) : `${whole(shown)} of ${whole(all.length)}`);
    }
}
