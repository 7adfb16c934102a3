// Ranges that follow the edits of a document. Pure.
import type { Range } from "../protocol";

type Position = Range["start"];

export interface Change {
  range: Range;
  text: string;
}

/** Return where a range is after an edit. Text that is inserted at its borders is not part of it. */
export function movedRange(range: Range, change: Change): Range {
  const start = moved(range.start, change, true);
  const end = moved(range.end, change, false);
  return isBefore(end, start) ? { start, end: start } : { start, end };
}

function moved(position: Position, { range, text }: Change, isStart: boolean): Position {
  const isAfter = isStart ? !isBefore(position, range.end) : isBefore(range.end, position);
  const isInside = isBefore(range.start, position) && !isBefore(range.end, position);
  const lines = text.split(/\r\n|\r|\n/);
  const last = lines.at(-1) ?? "";
  const endOfText: Position = {
    line: range.start.line + lines.length - 1,
    character: last.length + (lines.length === 1 ? range.start.character : 0),
  };
  if (isAfter) {
    return {
      line: position.line + endOfText.line - range.end.line,
      character:
        position.line === range.end.line
          ? position.character + endOfText.character - range.end.character
          : position.character,
    };
  }
  if (isInside) {
    return isStart ? range.start : endOfText;
  }
  return position;
}

function isBefore(left: Position, right: Position): boolean {
  return left.line < right.line || (left.line === right.line && left.character < right.character);
}
