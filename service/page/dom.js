/** Making elements. Text is always text: nothing here, or on the page, makes markup out of strings. */

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

function made(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** An HTML element. Attributes that are false or null are left out; `onclick` and the like take functions. */
export const el = (tag, attributes = {}, ...children) => made(document.createElement(tag), attributes, children);

/** An SVG element. */
export const svg = (tag, attributes = {}, ...children) => made(document.createElementNS(SVG, tag), attributes, children);

/** A small picture made of one path. */
export const sign = (path) =>
  svg("svg", { class: "sign", viewBox: "0 0 20 20", "aria-hidden": "true" }, svg("path", { d: path }));

export const SIGNS = {
  met: "M4 10.5 8.2 15 16 5.5",
  missed: "M10 4v7.5M10 15v.6",
  warning: "M10 2 19 18H1ZM10 8v5m0 2v.6",
};
