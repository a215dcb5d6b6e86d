// xterm.js makes <style> elements and style attributes, which the page's content-security policy
// forbids. What they say is carried over into style sheets and properties made by script, which the
// policy allows: nothing that arrives as text can become a style this way.
const createElement = Document.prototype.createElement;
const setAttribute = Element.prototype.setAttribute;

function styleElement(document) {
  const sheet = new CSSStyleSheet();
  const element = createElement.call(document, "kage-style");
  Object.defineProperty(element, "textContent", {
    get: () => "",
    set: (text) => sheet.replaceSync(text ?? ""),
  });
  Object.defineProperty(element, "sheet", { get: () => sheet });
  Object.defineProperty(element, "remove", {
    value() {
      document.adoptedStyleSheets = document.adoptedStyleSheets.filter((s) => s !== sheet);
      Element.prototype.remove.call(element);
    },
  });
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
  return element;
}

Document.prototype.createElement = function (name, ...rest) {
  return String(name).toLowerCase() === "style"
    ? styleElement(this)
    : createElement.call(this, name, ...rest);
};

Element.prototype.setAttribute = function (name, value) {
  if (String(name).toLowerCase() === "style") {
    this.style.cssText = value;
  } else {
    setAttribute.call(this, name, value);
  }
};
