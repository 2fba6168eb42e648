// The link to the launcher: what it says, and whether it still says anything.
//
// EventSource would reconnect by itself, but it neither tells when it will try again, nor gives up on a connection that
// says nothing, nor fetches what the charts missed. So it serves one connection only, and this file opens the next. It
// resumes after the last record that was seen; `lost` says how many have left the launcher's ring meanwhile.

const api = (path) => new URL(`../api/v1/${path}`, import.meta.url);

const NEWS_EVERY = 1;
const SILENT_AFTER = 4 * NEWS_EVERY;
const DEAD_AFTER = 10 * NEWS_EVERY;
const PAUSES = [1, 1, 2, 3, 5];

async function read(path) {
    const answer = await fetch(api(path), { cache: "no-store", signal: AbortSignal.timeout(5000) });
    if (!answer.ok) {
        throw new Error(`${path} answered ${answer.status}`);
    }
    return answer.json();
}

export class Link {
    state = "connecting"; // live, silent, lost
    since = null; // when the last news came, by this machine's clock, in seconds
    retryAt = null;
    #receiver;
    #launcher = null;
    #last = 0;
    #failures = 0;
    #stream = null;
    #attempt = 0;
    #timer = null;

    // `receiver`: history(samples), records(records, lost), status(status), another(), changed()
    constructor(receiver) {
        this.#receiver = receiver;
        setInterval(() => this.#watch(), 1000);
        addEventListener("online", () => this.retry());
        document.addEventListener("visibilitychange", () => document.hidden || this.retry());
    }

    // Try at once, unless all is well.
    retry() {
        if (this.state === "lost") {
            this.open();
        }
    }

    async open() {
        const attempt = this.#hangUp();
        this.retryAt = null;
        this.#receiver.changed();
        try {
            const status = await read("status");
            this.#recognise(status);
            const [events, history] = await Promise.all([read(`events?after=${this.#last}&limit=1024`), read("history")]);
            if (attempt !== this.#attempt) {
                return;
            }
            this.#receiver.history(history.samples);
            // At first sight nothing is missed: what left the ring before is no loss of ours.
            this.#receiver.records(events.events, this.#last > 0 ? events.lost : 0);
            this.#last = Math.max(this.#last, events.last);
            this.#listen();
        } catch (error) {
            if (attempt === this.#attempt) {
                this.#fail(error);
            }
        }
    }

    // Another launcher counts from the beginning: nothing of the former may be compared with it.
    #recognise(status) {
        const launcher = `${status.pid} ${status.started_at}`;
        if (this.#launcher !== null && this.#launcher !== launcher) {
            this.#last = 0;
            this.#receiver.another();
        }
        this.#launcher = launcher;
    }

    #listen() {
        const stream = new EventSource(api(`stream?after=${this.#last}`));
        this.#stream = stream;
        this.#hear();
        stream.addEventListener("status", (event) => {
            const status = JSON.parse(event.data);
            if (`${status.pid} ${status.started_at}` !== this.#launcher) {
                this.open();
                return;
            }
            this.#hear();
            if (this.state !== "live") {
                this.state = "live";
                this.#failures = 0;
                this.#receiver.changed();
            }
            this.#receiver.status(status);
        });
        stream.addEventListener("record", (event) => {
            const record = JSON.parse(event.data);
            if (record.seq > this.#last) {
                this.#last = record.seq;
                this.#receiver.records([record], 0);
            }
        });
        stream.addEventListener("error", () => this.#fail(new Error("the stream ended")));
    }

    #hear() {
        this.since = Date.now() / 1000;
    }

    #watch() {
        if (this.#stream === null) {
            this.#receiver.changed();
            return;
        }
        const silent = Date.now() / 1000 - this.since;
        if (silent > DEAD_AFTER) {
            this.#fail(new Error("the stream is silent"));
        } else if (silent > SILENT_AFTER && this.state === "live") {
            this.state = "silent";
            this.#receiver.changed();
        } else if (this.state === "silent") {
            this.#receiver.changed();
        }
    }

    #fail(error) {
        this.#hangUp();
        this.state = "lost";
        this.reason = error.message;
        const pause = PAUSES[Math.min(this.#failures, PAUSES.length - 1)];
        this.#failures += 1;
        this.retryAt = Date.now() / 1000 + pause;
        this.#timer = setTimeout(() => this.open(), 1000 * pause);
        this.#receiver.changed();
    }

    // Whatever an earlier attempt still brings is no longer wanted.
    #hangUp() {
        clearTimeout(this.#timer);
        this.#stream?.close();
        this.#stream = null;
        this.#attempt += 1;
        return this.#attempt;
    }
}
