"""What the site does that MkDocs does not do by itself.

* The navigation is docs/index.md: its headings are the sections, the first cells of its tables the pages.
* Each row of docs/reference.md becomes a page with the module's public names, read from the stubs: nothing is compiled.
* Links that leave docs/ go to the repository, except those to a module, which go to its page.
* `gevlite.spawn`, `Queue.get` and the like in the text are links to the reference.
* At the end, every public name must have its place in the reference, and every link must lead somewhere.
"""

import ast
import html
import json
import logging
import posixpath
import re
import shutil
import sys
import textwrap
from html.parser import HTMLParser
from itertools import zip_longest
from pathlib import Path
from urllib.parse import unquote, urlsplit

from markdown import Markdown
from markdown_it import MarkdownIt
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

sys.path.insert(0, str(Path(__file__).parent))
import public

ROOT = public.ROOT
READABLE = ROOT / "build" / "docs"  # what griffe reads
REPOSITORY = "https://github.com/gevlite/gevlite/blob/main/"
log = logging.getLogger("mkdocs.hooks.gevlite")


# ---------------------------------------------------------------- the modules, as griffe can read them


def stub_of(module):
    """The stub, or the module itself if it has none; None if there is no such module of gevlite."""
    try:
        source = public.source_of(module)
    except StopIteration:
        return None
    stub = source.with_suffix(".pyi")
    return stub if stub.exists() else source


def write_readable():
    """All modules by their stubs, as plain modules. An overloaded function gets a body: griffe shows only those."""
    shutil.rmtree(READABLE, ignore_errors=True)
    for folder, package in ((ROOT / "gevlite", "gevlite"), (ROOT / "backends", "gevlite/backends")):
        for path in sorted({p.with_suffix("") for p in folder.rglob("*.py*") if p.suffix in (".py", ".pyi", ".pyx")}):
            source = next(p for p in map(path.with_suffix, (".pyi", ".py", ".pyx")) if p.exists())
            if source.suffix == ".pyx":
                continue
            text = source.read_text(encoding="utf-8")
            tree = ast.parse(text)
            if source.suffix == ".py":
                describe_attributes(tree, text)
            for owner in ast.walk(tree):
                if isinstance(owner, ast.Module | ast.ClassDef):
                    give_bodies(owner)
                if isinstance(owner, ast.FunctionDef):
                    while owner.args.args and owner.args.defaults and owner.args.args[-1].arg.startswith("_"):
                        del owner.args.args[-1], owner.args.defaults[-1]
                if isinstance(owner, ast.ClassDef):
                    owner.bases = [base for base in owner.bases if not ast.unparse(base).startswith("Generic[")]
                if isinstance(owner, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(owner):
                    owner.body[0] = ast.Expr(ast.Constant(as_markdown(ast.get_docstring(owner), parameters(owner))))
            target = READABLE / package / path.relative_to(folder).with_suffix(".py")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(ast.unparse(tree), encoding="utf-8")


def describe_attributes(tree, text):
    """In a module without a stub: a comment `#: what it is` above an attribute becomes its description, and the
    attributes that `__init__` takes over as they are get the types of its parameters."""
    descriptions, comment = {}, []
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("#: "):
            comment.append(line.strip()[3:])
        elif comment:
            descriptions[number] = as_markdown("\n".join(comment), ())
            comment = []
    for owner in [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]:
        made = next((node for node in owner.body if getattr(node, "name", "") == "__init__"), None)
        types = {arg.arg: arg.annotation for arg in (*made.args.args, *made.args.kwonlyargs)} if made else {}
        body = []
        for node in [*owner.body, *(made.body if made else ())]:
            match node:
                case ast.Assign([ast.Attribute(ast.Name("self"), name)], ast.Name(value)) if types.get(value):
                    made.body = [one for one in made.body if one is not node] or [ast.Pass()]
                    body.append(ast.AnnAssign(ast.Name(name), types[value], None, 1))
                case _ if node in owner.body:
                    body.append(node)
                case _:
                    continue
            if node.lineno in descriptions and isinstance(node, ast.Assign | ast.AnnAssign):
                body.append(ast.Expr(ast.Constant(descriptions[node.lineno])))
        owner.body = body


def is_overload(node):
    return isinstance(node, ast.FunctionDef) and any(ast.unparse(d).endswith("overload") for d in node.decorator_list)


def give_bodies(owner):
    body = []
    for node, following in zip(owner.body, [*owner.body[1:], None], strict=True):
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
            continue
        body.append(node)
        if is_overload(node) and not (is_overload(following) and following.name == node.name):
            first = next(n for n in owner.body if is_overload(n) and n.name == node.name)
            kept = [d for d in node.decorator_list if not ast.unparse(d).endswith("overload")]
            fields = {f: getattr(node, f) for f in node._fields} | {"decorator_list": kept, "body": first.body}
            body.append(ast.FunctionDef(**fields, lineno=node.lineno))
    owner.body = body


def parameters(owner):
    """The names of a function's, or of a constructor's, parameters."""
    if isinstance(owner, ast.ClassDef):
        made = [n for n in owner.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
        return {name for one in made for name in parameters(one)}
    if not isinstance(owner, ast.FunctionDef):
        return set()
    return {arg.arg for arg in (*owner.args.posonlyargs, *owner.args.args, *owner.args.kwonlyargs)}


def as_markdown(doc, names):
    """A docstring, as the site can show it: with code after `::`, and a list of lines `parameter: what it does`."""
    done, code = [], []
    for paragraph in [*doc.split("\n\n"), ""]:
        if paragraph.startswith("    "):
            code.append(textwrap.dedent(paragraph))
            continue
        if code:
            text = "\n\n".join(code)
            try:
                ast.parse(text)
                done.append(f"```python\n{text}\n```")
            except SyntaxError:
                done.append(f"```text\n{text}\n```")
            code = []
        if paragraph == "::":
            continue
        lines = re.sub("::$", ":", paragraph).split("\n")
        first = re.match(r"(\w+)(?:, \w+)*: ", lines[0])
        if first and first[1] in names:
            lines = [
                f"* `{one[1]}`: {line[one.end() :]}"
                if (one := re.match(r"(\w+): ", line)) and one[1] in names
                else line
                for line in lines
            ]
        # What looks like a tag would be one; not in code.
        parts = re.split("(`[^`]*`)", "\n".join(lines))
        done.append("".join(part if i % 2 else re.sub(r"<(?=[\w/])", "&lt;", part) for i, part in enumerate(parts)))
    return "\n\n".join(done).strip()


# ---------------------------------------------------------------- where each name is described


def definitions(module):
    """`{name: (module, name) where it is made}` of the top level of a module; `(None, ...)`: outside gevlite."""
    found = {}

    def walk(nodes):
        for node in nodes:
            if isinstance(node, ast.If):
                walk(node.orelse)
                walk(node.body)
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                found[node.name] = (module, node.name)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found[node.target.id] = (module, node.target.id)
            elif isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        found[target.id] = (module, target.id)
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    found[alias.asname or alias.name] = (node.module, alias.name)
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    found[alias.asname or alias.name] = (None, alias.name)

    walk(ast.parse(stub_of(module).read_text(encoding="utf-8")).body)
    return found


def origin(module, name):
    """Where a name is made: `(module, name)`, or `(module of another package, name)`."""
    while module and module.split(".")[0] == "gevlite":
        made = definitions(module).get(name)
        if made is None:
            return public_original(module), name
        if made == (module, name):
            break
        module, name = made
    return module, name


def public_original(module):
    return module.removeprefix("gevlite.")


def places():
    """`{(module, name): "module.name" that describes it}`: its own module if that is public, else the first."""
    found = {}
    for module in public.modules():
        for name in public.names(module):
            made = origin(module, name)
            if made[0] == module or made not in found and made[0].startswith("gevlite"):
                found[made] = f"{module}.{name}"
    return found


def page_of(module):
    return f"reference/{module}.md"


def inherits_from_private(module, name):
    """Whether a base of the class is one of gevlite's that is not described itself."""
    module, name = origin(module, name)
    path = stub_of(module)
    if path is None:
        return False
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            for base in node.bases:
                text = ast.unparse(base).partition("[")[0]
                owner, _, last = text.rpartition(".")
                places = (*definitions(module).get(owner, ()), last) if owner else origin(module, last)
                made = ".".join(place or "" for place in places)
                if made.startswith("gevlite") and any(part.startswith("_") for part in made.split(".")):
                    return True
    return False


def hidden_class(module, name):
    """What `name` is another name of, if that class is not public itself."""
    for node in ast.parse(stub_of(module).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name) and ast.unparse(node.targets[0]) == name:
            made = definitions(module).get(node.value.id)
            return (
                node.value.id if made == (module, node.value.id) and node.value.id not in public.names(module) else ""
            )
    return ""


def first_sentence(made):
    """Of the docstring of what is made there."""
    module, name = made
    path = stub_of(module) if module and module.startswith("gevlite") else None
    if path and path.suffix != ".pyx":
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
                doc = " ".join((ast.get_docstring(node) or "").partition("\n\n")[0].split())
                return re.split(r"(?<=[.:])\s", doc)[0].replace("|", "\\|").removesuffix(":")
    return ""


def reference_page(module, where):
    title = module if "." in module else f"The package {module}"
    head = [f"# {title}", "", f"::: {module}", "    options:", "      members: false"]
    head += ["      show_root_heading: false", "      show_root_toc_entry: false", ""]
    here, elsewhere = [], []
    for name in public.names(module):
        path = f"{module}.{name}"
        made = origin(module, name)
        place = where.get(made)
        if place == path:
            inherited = str(inherits_from_private(module, name)).lower()
            here += [f"::: {path}", "    options:", f"      inherited_members: {inherited}", ""]
            if hidden := hidden_class(module, name):
                here += [f"::: {module}.{hidden}", ""]
            continue
        if place:
            text = f"[`{place}`][{place}]: {first_sentence(made)}"
        elif made[0] == "greenlet":
            text = "that of [greenlet](https://greenlet.readthedocs.io)"
        else:
            text = f"that of the standard `{made[0]}`" + ", cooperative" * (module == f"gevlite.{made[0]}")
        elsewhere.append(f'| <a id="{path}"></a>`{name}` | {text} |')
    if elsewhere:
        elsewhere = ["## From other modules", "", "| name | is |", "|---|---|", *elsewhere, ""]
    return "\n".join([*head, *elsewhere, *here] if module == "gevlite" else [*head, *here, *elsewhere])


# ---------------------------------------------------------------- MkDocs's events


def on_startup(command, dirty):
    READABLE.mkdir(parents=True, exist_ok=True)  # mkdocstrings forgets a folder that is not there when it begins


def on_config(config):
    write_readable()
    _names.clear()
    _places.clear()
    nav, section = [], None
    for line in (ROOT / "docs" / "index.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            section = []
            nav.append({line[3:]: section})
        elif (row := re.match(r"\| \[(.+?)\]\(([\w./-]+\.md)\) \|", line)) and section is not None:
            if row[2] == "reference.md":
                section.append({row[1]: [{"All modules": row[2]}, *({m: page_of(m)} for m in public.modules())]})
            else:
                section.append({row[1]: row[2]})
    config.nav = [{"Start": "index.md"}, *(one for one in nav if all(one.values()))]
    return config


def on_files(files, config):
    where = places()
    for module in public.modules():
        files.append(File.generated(config, page_of(module), content=reference_page(module, where)))
    return files


def on_page_markdown(markdown, page, config, files):
    here = posixpath.dirname(page.file.src_uri)
    modules = {posixpath.normpath(posixpath.join("docs", link)): m for m, (link, _) in public.modules().items()}

    def outside(match):
        target, _, anchor = match[1].partition("#")
        path = posixpath.normpath(posixpath.join("docs", here, target))
        if path.startswith("docs/"):
            return match[0]
        if path in modules:
            return f"]({posixpath.relpath(page_of(modules[path]), here or '.')})"
        if not (ROOT / path).exists():
            log.warning("%s: there is no %s", page.file.src_uri, target)
        return f"]({REPOSITORY}{path}{'#' * bool(anchor)}{anchor})"

    # What else stands in this line is for tests/test_docs.py.
    markdown = re.sub(r"^```python .*$", "```python", markdown, flags=re.MULTILINE)
    if page.file.src_uri.startswith("reference/"):
        page.edit_url = None
    else:
        check_that_github_shows_the_same(markdown, page, config)
    return re.sub(r"\]\((\.\./[^)\s]+)\)", outside, markdown)


def check_that_github_shows_the_same(markdown, page, config):
    """The pages are read there too, and Python's Markdown has other rules: about lists, for example."""
    shown = MarkdownIt("gfm-like").render(markdown)
    extensions = [one for one in config.markdown_extensions if isinstance(one, str) and one != "toc"]
    here = Markdown(extensions=extensions, extension_configs={"pymdownx.highlight": {"use_pygments": False}})
    for one, other in zip_longest(Shown(shown), Shown(here.convert(markdown))):
        if one != other:
            log.warning("%s: GitHub shows %r where the site shows %r", page.file.src_uri, one, other)
            return


class Shown(HTMLParser):
    """What a reader sees, by lines: each begins with the name of its element."""

    def __init__(self, text):
        super().__init__()
        self.lines = []
        self.feed(text)

    def __iter__(self):
        lines = (re.sub(r"\s+", " ", line).strip() for line in self.lines)
        return (line for line in lines if line)

    def handle_starttag(self, tag, attrs):
        if re.fullmatch("h[1-6]|p|ul|ol|li|table|t[rhd]|pre|blockquote|img", tag):
            self.lines.append(f"{tag} ")

    def handle_data(self, data):
        self.lines.append(self.lines.pop() + data if self.lines else data)


_names = {}  # what stands in the text: the name in the reference


def known_names():
    """`gevlite.spawn`, `spawn_later` only if qualified; classes also by their own names if those are unique."""
    if not _names:
        classes = {}
        for module in public.modules():
            _names[module] = module
            for name in public.names(module):
                path = f"{module}.{name}"
                _names[path] = path
                if name[0].isupper() and name[1:] != name[1:].upper():
                    place = places_now().get(origin(module, name))
                    if place:
                        classes.setdefault(name, set()).add(place)
        _names.update({name: paths.pop() for name, paths in classes.items() if len(paths) == 1})
    return _names


_places = {}


def places_now():
    if not _places:
        _places.update(places())
    return _places


def on_page_content(content, page, config, files):
    known = known_names()
    here = page.title

    def link(match):
        text = html.unescape(match[1])
        name = re.sub(r"\(.*\)$", "", text).strip()
        owner, _, last = name.rpartition(".")
        if name in known and known[name] != here:
            target = known[name]
        elif owner in known and re.fullmatch(r"[a-z]\w*", last):
            target = f"{known[owner]}.{last}"
        else:
            return match[0]
        return f'<autoref identifier="{target}" optional>{match[0]}</autoref>'

    parts = re.split(
        r"(<a\b.*?</a>|<h[1-6]\b.*?</h[1-6]>|<pre\b.*?</pre>|<autoref\b.*?</autoref>)", content, flags=re.DOTALL
    )
    return "".join(p if i % 2 else re.sub(r"<code>([^<]+)</code>", link, p) for i, p in enumerate(parts))


class Links(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.ids, self.links = set(), []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name == "id" or name == "name" and tag == "a":
                self.ids.add(value)
            elif name in ("href", "src") and value:
                self.links.append(value)


def name_members_in_search(path):
    """`Queue.get` instead of `get`: that is what one looks for, and sees in the results."""
    index = json.loads(path.read_text(encoding="utf-8"))
    for entry in index["docs"]:
        module, _, anchor = entry["location"].removeprefix("reference/").partition(".html#")
        if anchor.startswith(f"{module}."):
            entry["title"] = anchor.removeprefix(f"{module}.")
    path.write_text(json.dumps(index, separators=(",", ":")), encoding="utf-8")


def on_post_build(config):
    site = Path(config.site_dir)
    name_members_in_search(site / "search" / "search_index.json")
    pages = {path: Links(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or path.name == "404.html":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            if not target.exists() or parts.fragment and unquote(parts.fragment) not in pages[target].ids | {"__"}:
                broken.append(f"{path.relative_to(site)}: {link}")
    missing = []
    for name in public.everything():
        page = pages.get(site / "reference" / f"{name.rpartition('.')[0]}.html")
        if page is None or name not in page.ids:
            missing.append(name)
    if missing:
        raise PluginError(f"not in the reference: {', '.join(missing)}")
    if broken:
        raise PluginError("links that lead nowhere:\n" + "\n".join(sorted(set(broken))))
    count = len(public.everything())
    log.info("%d of %d public names are in the reference; %d pages, all links lead somewhere", count, count, len(pages))
