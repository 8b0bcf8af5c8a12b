/* A stand-in for libamd_smi.so under the real Python module: GPUs of constant known power.
 *
 * FAKE_AMDSMI names a file with a line a GPU: its watts, whether it has an energy counter (1 or 0), whether it reports power, and
 * whether its calls fail from now on. The library's other functions are made by the test, which knows their names: they answer
 * that they are not supported. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { NOT_SUPPORTED = 2, NO_PERMISSION = 10, NOT_FOUND = 31, MOST = 16 };
static const float RESOLUTION = 15.259f; /* microjoules */

typedef struct { double watts; int counts, reports, fails; } Gpu;
typedef struct __attribute__((packed)) {
    uint64_t socket; uint32_t current, average; uint64_t gfx, soc, memory; uint32_t limit; uint8_t padding[4]; uint64_t reserved[18];
} Power;
typedef struct __attribute__((packed)) {
    char market_name[256]; uint32_t vendor; char vendor_name[256]; uint32_t subvendor; uint64_t device; uint32_t revision;
    char serial[256]; uint32_t oam, units; uint8_t padding[4]; uint64_t target; uint32_t subsystem, reserved[21];
} Asic;
typedef struct { uint32_t drm_render, drm_card, hsa_id, hip_id; char hip_uuid[256]; } Enumeration;

static int settings(Gpu *gpus) {
    FILE *file = fopen(getenv("FAKE_AMDSMI"), "r");
    int count = 0;
    while (count < MOST && fscanf(file, "%lf %d %d %d", &gpus[count].watts, &gpus[count].counts, &gpus[count].reports, &gpus[count].fails) == 4)
        count++;
    fclose(file);
    return count;
}

static Gpu of(void *handle) {
    Gpu gpus[MOST];
    settings(gpus);
    return gpus[(intptr_t)handle - 1];
}

static int list(uint32_t *count, void **handles) {
    Gpu gpus[MOST];
    *count = (uint32_t)settings(gpus);
    for (uint32_t i = 0; handles && i < *count; i++) handles[i] = (void *)(intptr_t)(i + 1);
    return 0;
}

int amdsmi_init(uint64_t flags) { (void)flags; return getenv("FAKE_AMDSMI") ? 0 : NO_PERMISSION; }
int amdsmi_get_socket_handles(uint32_t *count, void **handles) {
    *count = 1;
    if (handles) handles[0] = (void *)1;
    return 0;
}
int amdsmi_get_processor_handles(void *socket, uint32_t *count, void **handles) { (void)socket; return list(count, handles); }
int amdsmi_get_gpu_device_uuid(void *gpu, uint32_t *length, char *text) {
    snprintf(text, *length, "amd-%d", (int)(intptr_t)gpu - 1);
    return 0;
}
int amdsmi_get_gpu_asic_info(void *gpu, Asic *asic) {
    (void)gpu;
    memset(asic, 0, sizeof *asic);
    strcpy(asic->market_name, "AMD Stand-in");
    return 0;
}
int amdsmi_get_gpu_enumeration_info(void *gpu, Enumeration *found) {
    memset(found, 0, sizeof *found);
    found->hip_id = (uint32_t)((intptr_t)gpu - 1);
    return 0;
}
int amdsmi_get_energy_count(void *handle, uint64_t *count, float *resolution, uint64_t *stamp) {
    Gpu gpu = of(handle);
    struct timespec now;
    if (gpu.fails) return NOT_FOUND;
    if (!gpu.counts) return NOT_SUPPORTED;
    clock_gettime(CLOCK_MONOTONIC, &now);
    *resolution = RESOLUTION;
    *stamp = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    *count = (uint64_t)(gpu.watts * (double)*stamp / 1e9 / (RESOLUTION / 1e6));
    return 0;
}
int amdsmi_get_power_info(void *handle, Power *power) {
    Gpu gpu = of(handle);
    memset(power, 0, sizeof *power);
    if (gpu.fails) return NOT_FOUND;
    if (!gpu.reports) return NOT_SUPPORTED;
    power->current = 0xFFFF; /* not reported, as the module has it */
    power->average = (uint32_t)gpu.watts;
    return 0;
}
