// Dialogs: a question before each action, the token, the help. Escape and Cancel do nothing, and that is the default.

import { get, put, show } from "./nodes.js";
import { Refusal } from "./session.js";

export function prepareDialogs() {
    for (const button of document.querySelectorAll("[data-close]")) {
        button.addEventListener("click", () => button.closest("dialog").close());
    }
    for (const dialog of document.querySelectorAll("dialog")) {
        // A click on the backdrop has the dialog itself as target, one inside it never has.
        dialog.addEventListener("click", (event) => event.target === dialog && !dialog.querySelector("form") && dialog.close());
    }
}

export function open(dialog) {
    put(dialog.querySelector(".refusal") ?? document.createElement("p"), "");
    if (!dialog.open) {
        dialog.showModal();
    }
}

// Runs `what`; a refusal is shown in the dialog, in the launcher's words. True when it went well.
export async function attempt(dialog, what) {
    const refusal = dialog.querySelector(".refusal");
    const buttons = [...dialog.querySelectorAll(".choices button:not([data-close])")];
    put(refusal, "");
    buttons.forEach((button) => (button.disabled = true));
    try {
        await what();
        return true;
    } catch (error) {
        if (!(error instanceof Refusal)) {
            throw error;
        }
        put(refusal, error.message);
        return false;
    } finally {
        buttons.forEach((button) => (button.disabled = false));
    }
}

let pending = null;

export function prepareQuestions() {
    const dialog = get("confirm");
    dialog.querySelector("form").addEventListener("submit", async (event) => {
        event.preventDefault();
        const { run } = pending;
        if (await attempt(dialog, () => run(Number(get("confirm-number").value)))) {
            dialog.close();
        }
    });
}

// `number`: {value, max} asks for one, too. `run(number)` does it.
export function ask({ title, text, yes, number = null, run }) {
    const dialog = get("confirm");
    pending = { run };
    put(get("confirm-title"), title);
    put(get("confirm-text"), text);
    put(get("confirm-yes"), yes);
    show(get("confirm-field"), number !== null);
    const field = get("confirm-number");
    field.required = number !== null;
    field.disabled = number === null;
    field.value = number ?? "";
    open(dialog);
    if (number !== null) {
        field.focus();
        field.select();
    } else {
        get("confirm-yes").focus();
    }
}
