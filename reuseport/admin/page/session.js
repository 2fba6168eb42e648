// What this page may do: the session, the token, and the requests that act.

const api = (path) => new URL(`../api/v1/${path}`, import.meta.url);

// What the launcher answered, in its own words: they name the fix.
export class Refusal extends Error {}

export class Session {
    actions = false; // may act now
    token = false; // a token would help
    // In this variable only: no storage, no cookie, gone with the tab.
    #secret = null;
    #changed;

    constructor(changed) {
        this.#changed = changed;
    }

    get unlocked() {
        return this.#secret !== null;
    }

    #headers() {
        return this.#secret === null ? {} : { Authorization: `Bearer ${this.#secret}` };
    }

    async #ask(path, options) {
        let answer;
        try {
            answer = await fetch(api(path), { cache: "no-store", signal: AbortSignal.timeout(30000), ...options });
        } catch (error) {
            throw new Refusal(`The launcher does not answer: ${error.message}`, { cause: error });
        }
        const body = await answer.json().catch(() => ({}));
        if (!answer.ok) {
            if (answer.status === 401) {
                this.lock();
            }
            throw new Refusal(body.error ?? `The launcher answered ${answer.status}`);
        }
        return body;
    }

    async refresh() {
        const { actions, token } = await this.#ask("session", { headers: this.#headers() });
        this.actions = actions;
        this.token = token;
        this.#changed();
    }

    async unlock(secret) {
        this.#secret = secret;
        await this.refresh();
        if (!this.actions) {
            this.lock();
            throw new Refusal("The launcher does not accept this token");
        }
    }

    lock() {
        this.#secret = null;
        this.actions = false;
        this.#changed();
    }

    act(path, body = undefined) {
        const headers = this.#headers();
        if (body !== undefined) {
            headers["Content-Type"] = "application/json";
        }
        return this.#ask(path, { method: "POST", headers, body: body === undefined ? undefined : JSON.stringify(body) });
    }
}
