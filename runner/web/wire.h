#pragma once

/*
 * What the page and kage web say to each other: binary WebSocket messages of a
 * type byte and fields in little endian. The page has no other words than these,
 * so a terminal of its own is all it can ask for: not another command, user,
 * file or machine that the user of kage web could not choose either.
 * docs/web-terminal.md describes them for readers.
 */
#define KAGE_WIRE_HEAD 5u /* the type and the number of a shell, where a message has one */

enum kage_wire_type {
    /* page → kage */
    KAGE_WIRE_KEY = 0x01,    /* [64 hexadecimal digits]; the first message, and only that */
    KAGE_WIRE_OPEN = 0x02,   /* [rows:u16][cols:u16][8 digits: the id of a machine] */
    KAGE_WIRE_ATTACH = 0x03, /* [shell:u32][offset:u64] send output from there on */
    KAGE_WIRE_INPUT = 0x04,  /* [shell:u32][bytes], within the credit */
    KAGE_WIRE_RESIZE = 0x05, /* [shell:u32][rows:u16][cols:u16] */
    KAGE_WIRE_ACK = 0x06,    /* [shell:u32][offset:u64] output up to there is on the screen */
    KAGE_WIRE_CLOSE = 0x07,  /* [shell:u32] */

    /* kage → page */
    KAGE_WIRE_STATE = 0x81,   /* [JSON] everything the page shows, whenever it changes */
    KAGE_WIRE_OUTPUT = 0x82,  /* [shell:u32][offset:u64][bytes] */
    KAGE_WIRE_CREDIT = 0x83,  /* [shell:u32][bytes:u32] so much more input may be sent */
    KAGE_WIRE_FROM = 0x84,    /* [shell:u32][offset:u64][live:u64][credit:u32][reset:u8] */
    KAGE_WIRE_OPENED = 0x85,  /* [shell:u32] the answer to open */
    KAGE_WIRE_REFUSED = 0x86, /* [text] the other answer to open */
    KAGE_WIRE_TAKEN = 0x87,   /* another page took over; this one is closed */
};

#define KAGE_WEB_SHELLS_MAX 16u
#define KAGE_WEB_INPUT_WINDOW (64u * 1024u)   /* input bytes of a shell that may wait in kage */
#define KAGE_WEB_OUTPUT_WINDOW (256u * 1024u) /* output bytes sent but not yet on the screen */
#define KAGE_WEB_HISTORY (1024u * 1024u)      /* output bytes of a shell kept for a reload */
