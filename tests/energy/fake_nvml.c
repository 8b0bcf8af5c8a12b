/* Stands in for libnvidia-ml.so.1: GPUs with known power curves, loaded through the real nvidia-ml-py.

   The file named by $FAKE_NVML is read at nvmlInit; each line is "GPU KEY VALUE", GPU -1 for the whole machine:

     -1 init CODE                      what nvmlInit returns          -1 gpus N        how many GPUs there are
     uuid, name                        text
     watts W, amplitude A, period S    P(t) = W + A sin(2 pi t / S), t in seconds of CLOCK_MONOTONIC
     refresh S                         the counter moves at multiples of S; 0: at every read
     scale F                           the counter counts F times the true energy
     reset_at, freeze_at, lost_at NS   from then on: counted anew, stands still, return code 15
     glitch_from, glitch_to NS         in between every call returns glitch_code
     mig 1, virtualization N, throttle MASK, temperature C, persistence 0
     error.CALL CODE                   handle, energy, field83, field186, power, clocks, temperature, temperaturev, reasons

   Built with -DOLD_DRIVER it lacks the calls that came with later drivers. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define GPUS 8
#define ERRORS 16

typedef struct {
  char uuid[96], name[96], failing[ERRORS][32];
  int codes[ERRORS], failures;
  double watts, amplitude, period, refresh, scale, reset_at, freeze_at, lost_at, glitch_from, glitch_to;
  double mig, virtualization, throttle, temperature, persistence, glitch_code;
} Gpu;

/* As the vendor's header lays it out. */
typedef struct {
  uint32_t field, scope;
  int64_t timestamp, latency;
  int type, result;
  union { double d; unsigned ui; unsigned long ul; unsigned long long ull; } value;
} Field;

static Gpu gpus[GPUS];
static int count, init_code;

static double number(const char *text) { return strtod(text, NULL); }

static void set(Gpu *gpu, const char *key, const char *text) {
  struct { const char *key; double *value; } numbers[] = {
      {"watts", &gpu->watts}, {"amplitude", &gpu->amplitude}, {"period", &gpu->period}, {"refresh", &gpu->refresh},
      {"scale", &gpu->scale}, {"reset_at", &gpu->reset_at}, {"freeze_at", &gpu->freeze_at}, {"lost_at", &gpu->lost_at},
      {"glitch_from", &gpu->glitch_from}, {"glitch_to", &gpu->glitch_to}, {"glitch_code", &gpu->glitch_code},
      {"mig", &gpu->mig}, {"virtualization", &gpu->virtualization}, {"throttle", &gpu->throttle},
      {"temperature", &gpu->temperature}, {"persistence", &gpu->persistence}};
  if (!strcmp(key, "uuid")) { snprintf(gpu->uuid, sizeof gpu->uuid, "%s", text); return; }
  if (!strcmp(key, "name")) { snprintf(gpu->name, sizeof gpu->name, "%s", text); return; }
  if (!strncmp(key, "error.", 6) && gpu->failures < ERRORS) {
    snprintf(gpu->failing[gpu->failures], 32, "%s", key + 6);
    gpu->codes[gpu->failures++] = (int)number(text);
    return;
  }
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
    if (!strcmp(key, numbers[i].key)) { *numbers[i].value = number(text); return; }
  fprintf(stderr, "fake_nvml: unknown key %s\n", key);
  abort();
}

static int initialize(void) {
  const char *path = getenv("FAKE_NVML");
  FILE *file = path ? fopen(path, "r") : NULL;
  int index;
  char key[32], text[96];
  if (!file) return 9;
  memset(gpus, 0, sizeof gpus);
  count = init_code = 0;
  for (int i = 0; i < GPUS; i++) {
    gpus[i].scale = gpus[i].period = gpus[i].persistence = 1;
    gpus[i].temperature = 40;
  }
  while (fscanf(file, "%d %31s %95[^\n]", &index, key, text) == 3) {
    if (index >= 0) set(&gpus[index], key, text);
    else if (!strcmp(key, "gpus")) count = (int)number(text);
    else if (!strcmp(key, "init")) init_code = (int)number(text);
  }
  fclose(file);
  return init_code;
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static int trouble(const Gpu *gpu, const char *call) {
  double ns = now() * 1e9;
  if (gpu->lost_at && ns >= gpu->lost_at) return 15;
  if (ns >= gpu->glitch_from && ns < gpu->glitch_to) return (int)gpu->glitch_code;
  for (int i = 0; i < gpu->failures; i++)
    if (!strcmp(gpu->failing[i], call)) return gpu->codes[i];
  return 0;
}

static double power(const Gpu *gpu) { return gpu->watts + gpu->amplitude * sin(2 * M_PI * now() / gpu->period); }

static double integral(const Gpu *gpu, double t) {
  return gpu->watts * t - gpu->amplitude * gpu->period / (2 * M_PI) * cos(2 * M_PI * t / gpu->period);
}

static unsigned long long millijoules(const Gpu *gpu) {
  double t = now(), from = 0;
  if (gpu->freeze_at && t * 1e9 > gpu->freeze_at) t = gpu->freeze_at / 1e9;
  if (gpu->refresh > 0) t = floor(t / gpu->refresh) * gpu->refresh;
  if (gpu->reset_at && t * 1e9 > gpu->reset_at) from = gpu->reset_at / 1e9;
  return (unsigned long long)(1e3 * gpu->scale * (integral(gpu, t) - integral(gpu, from)));
}

#define ANSWER(call, statement) { int code = trouble(gpu, call); if (code) return code; statement; return 0; }

int nvmlInitWithFlags(unsigned flags) { (void)flags; return initialize(); }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { (void)code; return "an error of the stand-in"; }
int nvmlSystemGetDriverVersion(char *text, unsigned size) { snprintf(text, size, "999.01"); return 0; }
int nvmlDeviceGetCount_v2(unsigned *n) { *n = (unsigned)count; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, Gpu **handle) { Gpu *gpu = &gpus[i]; ANSWER("handle", *handle = gpu) }
int nvmlDeviceGetUUID(Gpu *gpu, char *text, unsigned size) ANSWER("uuid", snprintf(text, size, "%s", gpu->uuid))
int nvmlDeviceGetName(Gpu *gpu, char *text, unsigned size) ANSWER("name", snprintf(text, size, "%s", gpu->name))
int nvmlDeviceGetMigMode(Gpu *gpu, unsigned *on, unsigned *next) ANSWER("mig", *on = *next = (unsigned)gpu->mig)
int nvmlDeviceGetVirtualizationMode(Gpu *gpu, unsigned *mode) ANSWER("virtualization", *mode = (unsigned)gpu->virtualization)
int nvmlDeviceGetPersistenceMode(Gpu *gpu, unsigned *on) ANSWER("persistence", *on = (unsigned)gpu->persistence)
int nvmlDeviceGetEnforcedPowerLimit(Gpu *gpu, unsigned *mw) ANSWER("limit", *mw = 700000)
int nvmlDeviceGetTotalEnergyConsumption(Gpu *gpu, unsigned long long *mj) ANSWER("energy", *mj = millijoules(gpu))
int nvmlDeviceGetPowerUsage(Gpu *gpu, unsigned *mw) ANSWER("power", *mw = (unsigned)(1e3 * power(gpu)))
int nvmlDeviceGetTemperature(Gpu *gpu, int sensor, unsigned *c) ANSWER("temperature", (void)sensor; *c = (unsigned)gpu->temperature)
int nvmlDeviceGetClockInfo(Gpu *gpu, int type, unsigned *mhz) ANSWER("clocks", *mhz = type == 1 ? 1980 : 2619)
int nvmlDeviceGetCurrentClocksThrottleReasons(Gpu *gpu, unsigned long long *mask) ANSWER("reasons", *mask = (unsigned long long)gpu->throttle)

#ifndef OLD_DRIVER
typedef struct { unsigned version; int sensor, celsius; } Temperature;
int nvmlDeviceGetTemperatureV(Gpu *gpu, Temperature *t) ANSWER("temperaturev", t->celsius = (int)gpu->temperature)
int nvmlDeviceGetCurrentClocksEventReasons(Gpu *gpu, unsigned long long *mask) ANSWER("reasons", *mask = (unsigned long long)gpu->throttle)

int nvmlDeviceGetFieldValues(Gpu *gpu, int n, Field *fields) {
  int lost = trouble(gpu, "fields");
  if (lost) return lost;
  for (int i = 0; i < n; i++) {
    int known = fields[i].scope == 0 && (fields[i].field == 83 || fields[i].field == 186);
    fields[i].result = known ? trouble(gpu, fields[i].field == 83 ? "field83" : "field186") : 3;
    fields[i].type = fields[i].field == 83 ? 3 : 1;
    if (fields[i].field == 83) fields[i].value.ull = millijoules(gpu);
    else fields[i].value.ui = (unsigned)(1e3 * power(gpu));
  }
  return 0;
}
#endif
