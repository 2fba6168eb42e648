// Writing into the document: text only, and only what has changed. Nothing here parses markup, so whatever a log
// line or a process says stays text.

export const get = (id) => document.getElementById(id);

// Touching a text node costs layout even when the text is the same, so it is compared first.
export function put(node, text) {
    const held = node.firstChild;
    if (held === null) {
        node.append(text);
    } else if (held.data !== text) {
        held.data = text;
    }
}

export function flag(node, name, value) {
    if (node.getAttribute(name) !== value) {
        node.setAttribute(name, value);
    }
}

export function show(node, shown) {
    if (node.hidden === shown) {
        node.hidden = !shown;
    }
}

export function make(tag, className = "", text = "") {
    const node = document.createElement(tag);
    if (className) {
        node.className = className;
    }
    node.append(text);
    return node;
}

export function icon(name) {
    const drawn = get("icon").content.firstElementChild.cloneNode(true);
    redraw(drawn, name);
    return drawn;
}

export function redraw(drawn, name) {
    flag(drawn.firstElementChild, "href", `#i-${name}`);
}
