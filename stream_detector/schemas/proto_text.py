"""Text of `.proto` files, as a Schema Registry gives it, made into descriptors.

Only what says where values are is read: messages, their fields, enumerations and imports. Options,
services, extensions and reserved numbers are skipped, groups and editions are refused. Names of
types are left to the pool of descriptors, which resolves them.

Sources, as read: Google, "Protocol Buffers Version 2 Language Specification" and "Version 3".
"""

import re

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)

from stream_detector.text import brief

DEPTH_MAX = 64
"""Deepest nesting of messages and options."""

_TOKEN = re.compile(
    r"\s+|//[^\n]*|/\*(?:[^*]|\*(?!/))*+\*/"
    r"|(?P<text>\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*')"
    r"|(?P<word>\.?[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)"
    r"|(?P<number>-?[0-9][A-Za-z0-9_.]*(?:(?<=[eE])[-+][0-9]+)?)"
    r"|(?P<sign>[-+{}\[\]()<>;,=:./])"
)
_CLOSE = {"{": "}", "[": "]", "(": ")", "<": ">"}
_LABELS = {"optional": 1, "required": 2, "repeated": 3}
_SCALARS = {
    name: int(FieldDescriptorProto.Type.Value(f"TYPE_{name.upper()}"))
    for name in (
        *("double", "float", "int64", "uint64", "int32", "fixed64", "fixed32", "bool", "string"),
        *("bytes", "uint32", "sfixed32", "sfixed64", "sint32", "sint64"),
    )
}


def parse_proto(text: str, name: str) -> FileDescriptorProto:
    """Return the descriptor of a file.

    Parameters
    ----------
    text
        Of the file.
    name
        By which others import it.

    Raises
    ------
    ValueError
        If it cannot be read, with the place.

    Examples
    --------
    >>> found = parse_proto('syntax = "proto3"; message R { double t = 1; }', "r.proto")
    >>> found.message_type[0].field[0].name, found.syntax
    ('t', 'proto3')
    """
    return _Parser(text).parse_file(name)


class _Parser:
    """Reads tokens from left to right."""

    def __init__(self, text: str) -> None:
        self._tokens: list[str] = []
        at = 0
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                message = f"expected a .proto file, received {text[at : at + 40]!r} in it"
                raise ValueError(message)
            if found.lastgroup is not None:
                self._tokens.append(found[0])
            at = found.end()
        self._at = 0
        self._is_proto3 = False

    def parse_file(self, name: str) -> FileDescriptorProto:
        """Return the whole file."""
        file = FileDescriptorProto(name=name, syntax="proto2")
        while self._at < len(self._tokens):
            word = self._take()
            if word == "syntax":
                self._expect("=")
                file.syntax = _unquoted(self._take())
                self._is_proto3 = file.syntax == "proto3"
                self._expect(";")
            elif word == "package":
                file.package = self._take()
                self._expect(";")
            elif word == "import":
                kind = self._take() if self._peek() in ("public", "weak") else ""
                file.dependency.append(_unquoted(self._take()))
                if kind == "public":
                    file.public_dependency.append(len(file.dependency) - 1)
                self._expect(";")
            elif word == "message":
                self._message(file.message_type.add(), 0)
            elif word == "enum":
                self._enum(file.enum_type.add())
            elif word in ("option", "service", "extend"):
                self._skip_statement()
            elif word != ";":
                raise self._unexpected(word, "message")
        return file

    def _message(self, message: DescriptorProto, depth: int) -> None:
        """Read a message from its name on."""
        if depth > DEPTH_MAX:
            text = f"expected messages nested at most {DEPTH_MAX} deep"
            raise ValueError(text)
        message.name = self._take()
        self._expect("{")
        optional: list[FieldDescriptorProto] = []
        while (word := self._take()) != "}":
            if word == "message":
                self._message(message.nested_type.add(), depth + 1)
            elif word == "enum":
                self._enum(message.enum_type.add())
            elif word == "oneof":
                self._oneof(message)
            elif word in ("option", "extend", "extensions", "reserved"):
                self._skip_statement()
            elif word != ";":
                field = self._field(message, word)
                if field.proto3_optional:
                    optional.append(field)
        for field in optional:  # after the others, as protoc has them
            field.oneof_index = len(message.oneof_decl)
            message.oneof_decl.add(name=f"_{field.name}")

    def _oneof(self, message: DescriptorProto) -> None:
        """Read a oneof, whose fields are the message's."""
        number = len(message.oneof_decl)
        message.oneof_decl.add(name=self._take())
        self._expect("{")
        while (word := self._take()) != "}":
            if word == "option":
                self._skip_statement()
            elif word != ";":
                self._field(message, word).oneof_index = number

    def _field(self, message: DescriptorProto, word: str) -> FieldDescriptorProto:
        """Read a field from its label or type on."""
        field = message.field.add(label=FieldDescriptorProto.LABEL_OPTIONAL)
        if word in _LABELS:
            field.label = _LABELS[word]
            field.proto3_optional = self._is_proto3 and word == "optional"
            word = self._take()
        if word == "group":
            raise self._unexpected(word, "a field")
        if word == "map" and self._peek() == "<":
            self._map(message, field)
        else:
            _set_type(field, word)
            field.name = self._take()
        self._expect("=")
        field.number = self._number()
        if self._peek() == "[":
            self._take()
            self._options(field)
        self._expect(";")
        return field

    def _map(self, message: DescriptorProto, field: FieldDescriptorProto) -> None:
        """Read the types and the name of a map, which is a repeated message of key and value."""
        self._expect("<")
        key = self._take()
        self._expect(",")
        value = self._take()
        self._expect(">")
        field.name = self._take()
        name = "".join(part[:1].upper() + part[1:] for part in field.name.split("_")) + "Entry"
        entry = message.nested_type.add(name=name)
        entry.options.map_entry = True
        for number, (part, kind) in enumerate((("key", key), ("value", value)), start=1):
            label = FieldDescriptorProto.LABEL_OPTIONAL
            _set_type(entry.field.add(name=part, number=number, label=label), kind)
        field.label = FieldDescriptorProto.LABEL_REPEATED
        field.type_name = name

    def _options(self, field: FieldDescriptorProto) -> None:
        """Read the options of a field, of which only its default means something for its value."""
        is_first = True
        while (word := self._take()) != "]":
            if word == "default" and is_first and self._peek() == "=":
                self._take()
                field.default_value = _unquoted(self._take())
            elif word in _CLOSE:
                self._skip_to(_CLOSE[word], 0)
            is_first = word == ","

    def _enum(self, enum: EnumDescriptorProto) -> None:
        """Read an enumeration from its name on."""
        enum.name = self._take()
        self._expect("{")
        while (word := self._take()) != "}":
            if word == "option":
                is_alias = self._peek() == "allow_alias"
                self._skip_statement()
                enum.options.allow_alias |= is_alias
            elif word == "reserved":
                self._skip_statement()
            elif word != ";":
                self._expect("=")
                enum.value.add(name=word, number=self._number())
                if self._peek() == "[":
                    self._take()
                    self._skip_to("]", 0)
                self._expect(";")

    def _skip_statement(self) -> None:
        """Skip up to the semicolon or the block that ends a statement."""
        while (word := self._take()) != ";":
            if word in _CLOSE:
                self._skip_to(_CLOSE[word], 0)
                if word == "{" and self._peek() != ";":
                    return

    def _skip_to(self, end: str, depth: int) -> None:
        """Skip up to what closes a bracket, and brackets in between."""
        if depth > DEPTH_MAX:
            text = f"expected options nested at most {DEPTH_MAX} deep"
            raise ValueError(text)
        while (word := self._take()) != end:
            if word in "{[(":
                self._skip_to(_CLOSE[word], depth + 1)

    def _peek(self) -> str:
        """Return the next token, empty at the end."""
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _take(self) -> str:
        """Return the next token and go on."""
        token = self._peek()
        if not token:
            message = "expected a .proto file, received one that ends too early"
            raise ValueError(message)
        self._at += 1
        return token

    def _expect(self, token: str) -> None:
        """Take a token that must be there."""
        found = self._take()
        if found != token:
            raise self._unexpected(found, repr(token))

    def _number(self) -> int:
        """Take a whole number."""
        token = self._take()
        try:
            return int(token, 8 if re.fullmatch(r"-?0[0-7]+", token) else 0)
        except ValueError:
            raise self._unexpected(token, "a whole number") from None

    def _unexpected(self, found: str, expected: str) -> ValueError:
        """Return the error for a token that does not belong where it is."""
        before = " ".join(self._tokens[max(0, self._at - 6) : self._at - 1])
        received = brief(found, 40)
        return ValueError(f"expected {expected} after {before!r}, received {received!r}")


def _set_type(field: FieldDescriptorProto, word: str) -> None:
    """Set the type of a field, of a message or an enumeration its name."""
    if word in _SCALARS:
        field.type = _SCALARS[word]
    else:
        field.type_name = word


def _unquoted(token: str) -> str:
    """Return a text without its quotes, a number or a word as it is."""
    return token[1:-1] if token[:1] in ("'", '"') else token
