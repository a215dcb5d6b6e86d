#include "runner/apply/images.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"

struct image {
    const struct kage_plan *plan; /* the first that asks for it */
    struct kage_image_files files;
    struct kage_error err; /* with a message if there is no such image */
};

struct kage_images {
    const struct kage_plans *plans;
    struct image *images;
    size_t n;
    size_t *of_job;
};

static bool same_text(const char *a, const char *b)
{
    return a && b ? !strcmp(a, b) : a == b;
}

bool kage_images_same(const struct kage_plan *a, const struct kage_plan *b)
{
    const struct kage_spec_image *x = &a->image, *y = &b->image;

    return a->arch == b->arch && x->form == y->form && x->own_kernel == y->own_kernel &&
           same_text(x->name, y->name) && same_text(x->path, y->path) &&
           same_text(x->url, y->url) && same_text(x->digest, y->digest) &&
           same_text(x->kernel, y->kernel) && same_text(x->initrd, y->initrd) &&
           same_text(x->rootfs, y->rootfs);
}

struct kage_images *kage_images_new(const struct kage_apply *apply, const struct kage_plans *plans,
                                    struct kage_result *results)
{
    struct kage_images *images = kage_alloc(sizeof *images);

    images->plans = plans;
    images->images = kage_alloc((plans->n + 1) * sizeof *images->images);
    images->of_job = kage_alloc((plans->n + 1) * sizeof *images->of_job);
    for (size_t i = 0; i < plans->n; i++) {
        size_t k = 0;

        while (k < images->n && !kage_images_same(images->images[k].plan, plans->items[i]))
            k++;
        images->of_job[i] = k;
        if (k < images->n)
            continue;
        images->n++;
        images->images[k].plan = plans->items[i];
        kage_apply_image(apply, plans->items[i], &results[i].timeline, &images->images[k].files,
                         &images->images[k].err);
    }
    return images;
}

void kage_images_free(struct kage_images *images)
{
    for (size_t i = 0; i < images->n; i++) {
        kage_image_files_done(&images->images[i].files);
        kage_error_done(&images->images[i].err);
    }
    free(images->images);
    free(images->of_job);
    free(images);
}

const struct kage_image_files *kage_images_of(const struct kage_images *images, size_t job,
                                              struct kage_error *err)
{
    const struct image *image = &images->images[images->of_job[job]];

    if (!image->err.message)
        return &image->files;
    kage_error_set(err, image->err.class, "%s", image->err.message);
    err->loc = images->plans->items[job]->image.loc;
    return NULL;
}
