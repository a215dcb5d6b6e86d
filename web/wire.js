// The messages between the page and kage web; runner/web/wire.h describes them.
export const KEY = 0x01;
export const OPEN = 0x02;
export const ATTACH = 0x03;
export const INPUT = 0x04;
export const RESIZE = 0x05;
export const ACK = 0x06;
export const CLOSE = 0x07;
export const STATE = 0x81;
export const OUTPUT = 0x82;
export const CREDIT = 0x83;
export const FROM = 0x84;
export const OPENED = 0x85;
export const REFUSED = 0x86;
export const TAKEN = 0x87;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

function message(type, length, fill) {
  const bytes = new Uint8Array(1 + length);
  bytes[0] = type;
  fill(new DataView(bytes.buffer, 1), bytes.subarray(1));
  return bytes;
}

export const key = (text) => message(KEY, text.length, (_, b) => encoder.encodeInto(text, b));

export const open = (vm, rows, cols) =>
  message(OPEN, 12, (view, bytes) => {
    view.setUint16(0, rows, true);
    view.setUint16(2, cols, true);
    encoder.encodeInto(vm, bytes.subarray(4));
  });

const withOffset = (type) => (shell, offset) =>
  message(type, 12, (view) => {
    view.setUint32(0, shell, true);
    view.setBigUint64(4, BigInt(offset), true);
  });

export const attach = withOffset(ATTACH);
export const ack = withOffset(ACK);

export const input = (shell, data) =>
  message(INPUT, 4 + data.length, (view, bytes) => {
    view.setUint32(0, shell, true);
    bytes.set(data, 4);
  });

export const resize = (shell, rows, cols) =>
  message(RESIZE, 8, (view) => {
    view.setUint32(0, shell, true);
    view.setUint16(4, rows, true);
    view.setUint16(6, cols, true);
  });

export const close = (shell) => message(CLOSE, 4, (view) => view.setUint32(0, shell, true));

// Offsets stay far below 2^53, where numbers are exact.
export function decode(buffer) {
  const bytes = new Uint8Array(buffer);
  const view = new DataView(buffer);
  const offset = (at) => Number(view.getBigUint64(at, true));
  const type = bytes[0];
  switch (type) {
    case STATE:
      return { type, state: JSON.parse(decoder.decode(bytes.subarray(1))) };
    case OUTPUT:
      return { type, shell: view.getUint32(1, true), offset: offset(5), data: bytes.subarray(13) };
    case CREDIT:
      return { type, shell: view.getUint32(1, true), bytes: view.getUint32(5, true) };
    case FROM:
      return {
        type,
        shell: view.getUint32(1, true),
        offset: offset(5),
        live: offset(13),
        credit: view.getUint32(21, true),
        reset: bytes[25] !== 0,
      };
    case OPENED:
      return { type, shell: view.getUint32(1, true) };
    case REFUSED:
      return { type, text: decoder.decode(bytes.subarray(1)) };
    default:
      return { type };
  }
}
