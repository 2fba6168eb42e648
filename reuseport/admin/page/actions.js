// The buttons and keys that act on the whole, and the lock before them.

import { ask, attempt, open } from "./dialogs.js";
import { get, put, show } from "./nodes.js";
import { whole } from "./words.js";

export class Actions {
    #session;
    #notice;
    #status = null;

    constructor(session, notice) {
        this.#session = session;
        this.#notice = notice;
        get("reload").addEventListener("click", () => this.reload());
        get("scale").addEventListener("click", () => this.scale());
        get("unlock").addEventListener("click", () => this.unlock());
        get("lock").addEventListener("click", () => this.unlock());
        const dialog = get("token-dialog");
        dialog.querySelector("form").addEventListener("submit", async (event) => {
            event.preventDefault();
            if (await attempt(dialog, () => session.unlock(get("token").value))) {
                dialog.close();
                notice("Unlocked: actions are allowed until this tab is closed");
            }
        });
        dialog.addEventListener("close", () => (get("token").value = ""));
    }

    show(status) {
        this.#status = status;
    }

    showSession() {
        const { actions, token, unlocked } = this.#session;
        show(get("reload"), actions);
        show(get("scale"), actions);
        show(get("unlock"), !actions && token);
        show(get("lock"), actions && unlocked);
        show(get("readonly"), !actions && !token);
    }

    // Each key leads to where it can go: to the question, or to the lock before it.
    #allowed() {
        if (!this.#session.actions && this.#session.token) {
            this.unlock();
        } else if (!this.#session.actions) {
            this.#notice("Read-only: start with --admin-token-file to act from here");
        }
        return this.#session.actions && this.#status !== null;
    }

    unlock() {
        if (this.#session.unlocked) {
            this.#session.lock();
            this.#session.refresh();
            this.#notice("Locked");
        } else if (!this.#session.actions && this.#session.token) {
            open(get("token-dialog"));
            get("token").focus();
        }
    }

    reload() {
        if (!this.#allowed()) {
            return;
        }
        const { workers, reload } = this.#status;
        ask({
            title: "Reload all slots?",
            text: reload
                ? `Generation ${reload.generation} is on its way; one more reload will follow it.`
                : `${whole(workers)} ${workers === 1 ? "worker" : "workers"}, slot by slot: each successor is ready before its predecessor ` +
                  "drains. When one cannot start, the old generation keeps serving.",
            yes: "Reload",
            run: async () => {
                const { generation } = await this.#session.act("reload");
                this.#notice(`Reload to generation ${generation} asked for`);
            },
        });
    }

    scale() {
        if (!this.#allowed()) {
            return;
        }
        const { workers } = this.#status;
        ask({
            title: "Scale",
            text: `${whole(workers)} ${workers === 1 ? "worker is" : "workers are"} wanted now. Those scaled away finish what they have.`,
            yes: "Scale",
            number: workers,
            run: async (wanted) => {
                await this.#session.act("scale", { workers: wanted });
                this.#notice(`Scaling to ${whole(wanted)} asked for`);
            },
        });
    }
}

let fading = null;

// What was asked for, said once, then gone: the events tell what came of it.
export function notice(text) {
    put(get("notice"), text);
    get("notice").classList.add("said");
    clearTimeout(fading);
    fading = setTimeout(() => {
        get("notice").classList.remove("said");
        put(get("notice"), "");
    }, 6000);
}
