// Single-key shortcuts. They can be switched off, since some speak to their computer and dictation types letters.

import { open } from "./dialogs.js";
import { get } from "./nodes.js";

const KEY = "reuseport-keys";

function remembered() {
    try {
        return localStorage.getItem(KEY) !== "off";
    } catch {
        return true;
    }
}

function remember(on) {
    try {
        localStorage.setItem(KEY, on ? "on" : "off");
    } catch {
        return; // as long as the page, then
    }
}

export function prepareKeys(actions, slots, showTheme) {
    const help = () => open(get("help-dialog"));
    const keys = {
        r: () => actions.reload(),
        s: () => actions.scale(),
        u: () => actions.unlock(),
        b: () => show("balance"),
        e: () => show("journal").querySelector(".scroll").focus(),
        t: () => {
            show("slots");
            slots.focus();
        },
        d: showTheme,
        "?": help,
    };
    get("help").addEventListener("click", help);
    const box = get("keys-on");
    box.checked = remembered();
    box.addEventListener("change", () => remember(box.checked));
    document.addEventListener("keydown", (event) => {
        const typing = event.target.closest("input, select, textarea");
        const modal = document.querySelector("dialog[open]");
        if (typing || modal || event.ctrlKey || event.metaKey || event.altKey || !box.checked) {
            return;
        }
        const act = keys[event.key];
        if (act) {
            event.preventDefault();
            act();
        }
    });
}

function show(id) {
    const panel = get(id);
    panel.scrollIntoView({ block: "nearest" });
    return panel;
}
