/* Any bytes as a frame, whole and cut short; then as the payload of every type of message. What the
 * decoder takes, the encoder writes in a form that decodes to the same again. */
#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/text.h"
#include "common/proto/message.h"
#include "tests/fuzz/fuzz.h"

static void decode(int type, const uint8_t *payload, size_t len)
{
    struct kage_msg msg, again;
    struct kage_buf first = {0}, second = {0};
    char *why = NULL;

    if (kage_msg_decode(&msg, (enum kage_msg_type)type, payload, len, &why)) {
        PROMISE(why && *why && kage_utf8_valid(why, strlen(why)));
        free(why);
        return;
    }
    PROMISE(!why && msg.type == type);
    kage_msg_encode(&msg, &first);
    PROMISE(kage_utf8_valid(first.data, first.len));
    PROMISE(kage_msg_decode(&again, (enum kage_msg_type)type, (const uint8_t *)first.data,
                            first.len, &why) == 0);
    kage_msg_encode(&again, &second);
    PROMISE(first.len == second.len && memcmp(first.data, second.data, first.len) == 0);
    kage_msg_done(&msg);
    kage_msg_done(&again);
    kage_buf_done(&first);
    kage_buf_done(&second);
}

static void take_apart(const uint8_t *data, size_t size)
{
    const uint8_t *payload = NULL;
    const char *why = NULL;
    size_t len = 0;
    int type;

    if (kage_frame_parse(data, size, &type, &payload, &len, &why)) {
        PROMISE(why && *why);
        PROMISE(size ? type == data[0] : type == -1);
        return;
    }
    PROMISE(kage_msg_name(type));
    PROMISE(payload == data + KAGE_FRAME_HEADER && payload + len == data + size);
    decode(type, payload, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *frame;

    take_apart(data, size);
    take_apart(data, size / 2);
    if (!size)
        return 0;
    /* The first byte as the type, with a header that fits: without it nothing would get far. */
    frame = kage_alloc(size + KAGE_FRAME_HEADER);
    kage_frame_header(frame, data[0], (uint32_t)size - 1);
    memcpy(frame + KAGE_FRAME_HEADER, data + 1, size - 1);
    take_apart(frame, size - 1 + KAGE_FRAME_HEADER);
    free(frame);
    if (data[0] == 0)
        for (int type = 1; type < 256; type++)
            decode(type, data + 1, size - 1);
    return 0;
}
