/* Stands in for libnvidia-ml.so.1: GPUs with known power curves, loaded through the real nvidia-ml-py.

   The file named by $FAKE_NVML is read at nvmlInit; each line is "GPU KEY VALUE", GPU -1 for the whole machine:

     -1 init CODE                      what nvmlInit returns          -1 gpus N        how many GPUs there are
     -1 busy_us N                      every call keeps a processor busy for N microseconds, as a driver does
     uuid, name                        text
     watts W, amplitude A, period S    P(t) = W + A sin(2 pi t / S), t in seconds of CLOCK_MONOTONIC
     curve FILE                        or P(t) by straight lines: a line "SECONDS WATTS" a knot, in time order
     refresh S, phase S                the counter moves at multiples of S, shifted by the phase; 0: at every read
     scale F                           the counter counts F times the true energy
     sensor S, sensor_window S         power is sampled every S seconds, as the mean over the window before:
                                       a window shorter than S sees only part of the power, as on A100 and H100
     filter S                          GetPowerUsage is the mean over the last S seconds (1 on Ampere and later)
     sample_period S                   GetSamples has a sample each S seconds of the last two, stamped in epoch time
     module_watts W                    the module's power, for queries of scope 1 (Grace Hopper)
     reset_at, freeze_at, lost_at NS   from then on: counts from 0, is constant, return code 15
     glitch_from, glitch_to NS         in between every call returns glitch_code; glitch_calls N: only the first N
     mig 1, virtualization N, throttle MASK, temperature C, persistence 0, power_limit W
     (what is set is appended to $FAKE_NVML.set as "GPU power_limit W" or "GPU clock MHZ", and holds for every process)
     processes PID PID ...             that compute on it
     mps PID PID ...                   of those, the clients of a server of MPS
     error.CALL CODE                   handle, energy, field83, field186, samples, power, clocks, temperature, ...

   Beside NVML's own there are calls for tests: stand_in_watts sets a GPU's power from now on, stand_in_joules returns the true energy,
   stand_in_clock replaces CLOCK_MONOTONIC (-1: restores it), whose 0 is at stand_in_epoch. Built with -DOLD_DRIVER it lacks the calls of later drivers. */
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define GPUS 8
#define ERRORS 16
#define PROCESSES 16
#define BUFFER_S 2.0

typedef struct { double t, watts, joules; } Knot;

typedef struct {
  char uuid[256], name[256], failing[ERRORS][32];
  int codes[ERRORS], failures;
  Knot *knots;
  int knot_count, knot_room;
  double watts, amplitude, period, refresh, phase, scale, reset_at, freeze_at, lost_at, glitch_from, glitch_to, glitch_code;
  double glitch_calls, sensor, sensor_window, filter, sample_period, module_watts;
  double mig, virtualization, throttle, temperature, persistence, power_limit;
  unsigned pids[PROCESSES], process_count, clients[PROCESSES], client_count;
} Gpu;

/* As the vendor's header lays them out. */
typedef union { double d; unsigned ui; unsigned long ul; unsigned long long ull; } Value;
typedef struct { uint32_t field, scope; int64_t timestamp, latency; int type, result; Value value; } Field;
typedef struct { unsigned long long epoch_us; Value value; } Sample;
typedef struct { unsigned pid; unsigned long long bytes; unsigned gpu_instance, compute_instance; } Process;

static Gpu gpus[GPUS];
static int count, init_code;
static double busy_us, simulated = -1, simulated_epoch;
static pthread_mutex_t knots_lock = PTHREAD_MUTEX_INITIALIZER;

static double number(const char *text) { return strtod(text, NULL); }

static double clock_s(clockid_t id) {
  struct timespec t;
  clock_gettime(id, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static double now(void) { return simulated >= 0 ? simulated : clock_s(CLOCK_MONOTONIC); }

static double epoch(void) {
  return simulated >= 0 ? simulated_epoch : clock_s(CLOCK_REALTIME) - clock_s(CLOCK_MONOTONIC);
}

static void add_knot(Gpu *gpu, double t, double watts) {
  if (gpu->knot_count == gpu->knot_room) {
    gpu->knot_room = gpu->knot_room ? 2 * gpu->knot_room : 64;
    gpu->knots = realloc(gpu->knots, sizeof(Knot) * (size_t)gpu->knot_room);
  }
  Knot *last = gpu->knot_count ? &gpu->knots[gpu->knot_count - 1] : NULL;
  double joules = last ? last->joules + (t - last->t) * (watts + last->watts) / 2 : 0;
  gpu->knots[gpu->knot_count++] = (Knot){t, watts, joules};
}

/* Power and energy at t, by the knots; beyond them the last (or first) power holds. */
static Knot by_knots(const Gpu *gpu, double t) {
  pthread_mutex_lock(&knots_lock);
  int low = 0, high = gpu->knot_count - 1;
  while (high - low > 1) {
    int middle = (low + high) / 2;
    if (gpu->knots[middle].t <= t) low = middle; else high = middle;
  }
  Knot a = gpu->knots[low], b = gpu->knots[high];
  pthread_mutex_unlock(&knots_lock);
  if (t >= b.t) return (Knot){t, b.watts, b.joules + (t - b.t) * b.watts};
  if (t <= a.t) return (Knot){t, a.watts, a.joules + (t - a.t) * a.watts};
  double watts = a.watts + (b.watts - a.watts) * (t - a.t) / (b.t - a.t);
  return (Knot){t, watts, a.joules + (t - a.t) * (a.watts + watts) / 2};
}

static double power(const Gpu *gpu, double t) {
  if (gpu->knot_count) return by_knots(gpu, t).watts;
  return gpu->watts + gpu->amplitude * sin(2 * M_PI * t / gpu->period);
}

static double integral(const Gpu *gpu, double t) {
  if (gpu->knot_count) return by_knots(gpu, t).joules;
  return gpu->watts * t - gpu->amplitude * gpu->period / (2 * M_PI) * cos(2 * M_PI * t / gpu->period);
}

static double mean(const Gpu *gpu, double t, double over) {
  return over > 0 ? (integral(gpu, t) - integral(gpu, t - over)) / over : power(gpu, t);
}

static double stepped(double t, double step, double phase) { return step > 0 ? floor((t - phase) / step) * step + phase : t; }
static double instant(const Gpu *gpu) { return mean(gpu, stepped(now(), gpu->sensor, gpu->phase), gpu->sensor_window); }
static double average(const Gpu *gpu) { return mean(gpu, stepped(now(), gpu->sensor, gpu->phase), gpu->filter); }

static unsigned long long millijoules(const Gpu *gpu) {
  double t = now(), from = 0;
  if (gpu->freeze_at && t * 1e9 > gpu->freeze_at) t = gpu->freeze_at / 1e9;
  t = stepped(t, gpu->refresh, gpu->phase);
  if (gpu->reset_at && t * 1e9 > gpu->reset_at) from = gpu->reset_at / 1e9;
  return (unsigned long long)(1e3 * gpu->scale * (integral(gpu, t) - integral(gpu, from)));
}

static void set(Gpu *gpu, const char *key, const char *text) {
  struct { const char *key; double *value; } numbers[] = {
      {"watts", &gpu->watts}, {"amplitude", &gpu->amplitude}, {"period", &gpu->period}, {"refresh", &gpu->refresh},
      {"phase", &gpu->phase}, {"scale", &gpu->scale}, {"reset_at", &gpu->reset_at}, {"freeze_at", &gpu->freeze_at},
      {"lost_at", &gpu->lost_at}, {"glitch_from", &gpu->glitch_from}, {"glitch_to", &gpu->glitch_to},
      {"glitch_code", &gpu->glitch_code}, {"glitch_calls", &gpu->glitch_calls}, {"sensor", &gpu->sensor},
      {"sensor_window", &gpu->sensor_window}, {"filter", &gpu->filter}, {"sample_period", &gpu->sample_period},
      {"module_watts", &gpu->module_watts}, {"mig", &gpu->mig}, {"virtualization", &gpu->virtualization},
      {"throttle", &gpu->throttle}, {"temperature", &gpu->temperature}, {"persistence", &gpu->persistence},
      {"power_limit", &gpu->power_limit}};
  if (!strcmp(key, "uuid")) { snprintf(gpu->uuid, sizeof gpu->uuid, "%s", text); return; }
  if (!strcmp(key, "name")) { snprintf(gpu->name, sizeof gpu->name, "%s", text); return; }
  if (!strcmp(key, "processes") || !strcmp(key, "mps")) {
    unsigned *listed = *key == 'm' ? gpu->clients : gpu->pids, *many = *key == 'm' ? &gpu->client_count : &gpu->process_count;
    char *end = NULL;
    for (unsigned pid; *many < PROCESSES && (pid = (unsigned)strtoul(text, &end, 10)) && end != text; text = end)
      listed[(*many)++] = pid;
    return;
  }
  if (!strcmp(key, "curve")) {
    FILE *file = fopen(text, "r");
    double t, watts;
    while (file && fscanf(file, "%lf %lf", &t, &watts) == 2) add_knot(gpu, t, watts);
    if (file) fclose(file);
    return;
  }
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

static FILE *settings(const char *mode) {
  char path[4096];
  snprintf(path, sizeof path, "%s.set", getenv("FAKE_NVML"));
  return fopen(path, mode);
}

/* A setting outlives the process that made it, as a driver's does. */
static void keep(Gpu *gpu, const char *key, double value) {
  FILE *file = settings("a");
  if (!file) return;
  fprintf(file, "%d %s %g\n", (int)(gpu - gpus), key, value);
  fclose(file);
}

static double kept(const Gpu *gpu, const char *wanted, double found) {
  FILE *file = settings("r");
  int index;
  char key[32];
  double value;
  while (file && fscanf(file, "%d %31s %lf", &index, key, &value) == 3)
    if (index == gpu - gpus && !strcmp(key, wanted)) found = value;
  if (file) fclose(file);
  return found;
}

static int initialize(void) {
  const char *path = getenv("FAKE_NVML");
  FILE *file = path ? fopen(path, "r") : NULL;
  int index;
  char key[32], text[256];
  if (!file) return 9;
  for (int i = 0; i < GPUS; i++) free(gpus[i].knots);
  memset(gpus, 0, sizeof gpus);
  count = init_code = 0;
  busy_us = 0;
  for (int i = 0; i < GPUS; i++) {
    gpus[i].scale = gpus[i].period = gpus[i].persistence = 1;
    gpus[i].temperature = 40;
    gpus[i].power_limit = 700;
    gpus[i].sample_period = 0.02;
    gpus[i].glitch_calls = INFINITY;
  }
  while (fscanf(file, "%d %31s %255[^\n]", &index, key, text) == 3) {
    if (index >= 0) set(&gpus[index], key, text);
    else if (!strcmp(key, "gpus")) count = (int)number(text);
    else if (!strcmp(key, "init")) init_code = (int)number(text);
    else if (!strcmp(key, "busy_us")) busy_us = number(text);
  }
  fclose(file);
  return init_code;
}

static int trouble(Gpu *gpu, const char *call) {
  double ns = now() * 1e9;
  for (double until = clock_s(CLOCK_MONOTONIC) + busy_us / 1e6; busy_us > 0 && clock_s(CLOCK_MONOTONIC) < until;) {}
  if (gpu->lost_at && ns >= gpu->lost_at) return 15;
  if (ns >= gpu->glitch_from && ns < gpu->glitch_to && gpu->glitch_calls > 0) {
    gpu->glitch_calls--;
    return (int)gpu->glitch_code;
  }
  for (int i = 0; i < gpu->failures; i++)
    if (!strcmp(gpu->failing[i], call)) return gpu->codes[i];
  return 0;
}

void stand_in_clock(double s) { simulated = s; }
void stand_in_epoch(double s) { simulated_epoch = s; }
double stand_in_joules(int i, double from, double to) { return integral(&gpus[i], to) - integral(&gpus[i], from); }

/* Returns the moment from which on this is the power. */
double stand_in_watts(int i, double watts) {
  pthread_mutex_lock(&knots_lock);
  Gpu *gpu = &gpus[i];
  double t = now(), before = gpu->knot_count ? gpu->knots[gpu->knot_count - 1].watts : gpu->watts;
  if (!gpu->knot_count) add_knot(gpu, 0, before);
  add_knot(gpu, t, before);
  add_knot(gpu, t, watts);
  pthread_mutex_unlock(&knots_lock);
  return t;
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
int nvmlDeviceGetVbiosVersion(Gpu *gpu, char *text, unsigned size) ANSWER("vbios", snprintf(text, size, "96.00.89.00.01"))
int nvmlDeviceGetMigMode(Gpu *gpu, unsigned *on, unsigned *next) ANSWER("mig", *on = *next = (unsigned)gpu->mig)
int nvmlDeviceGetVirtualizationMode(Gpu *gpu, unsigned *mode) ANSWER("virtualization", *mode = (unsigned)gpu->virtualization)
int nvmlDeviceGetPersistenceMode(Gpu *gpu, unsigned *on) ANSWER("persistence", *on = (unsigned)gpu->persistence)
int nvmlDeviceGetEnforcedPowerLimit(Gpu *gpu, unsigned *mw) ANSWER("limit", *mw = (unsigned)(1e3 * kept(gpu, "power_limit", gpu->power_limit)))
int nvmlDeviceGetPowerManagementDefaultLimit(Gpu *gpu, unsigned *mw) ANSWER("limit", *mw = 700000)
int nvmlDeviceGetPowerManagementLimitConstraints(Gpu *gpu, unsigned *low, unsigned *high) ANSWER("limit", *low = 200000; *high = 700000)
int nvmlDeviceGetPowerManagementLimit(Gpu *gpu, unsigned *mw) ANSWER("limit", *mw = (unsigned)(1e3 * kept(gpu, "power_limit", gpu->power_limit)))
int nvmlDeviceSetPowerManagementLimit(Gpu *gpu, unsigned mw) ANSWER("set_limit", keep(gpu, "power_limit", mw / 1e3))
int nvmlDeviceSetGpuLockedClocks(Gpu *gpu, unsigned low, unsigned high) ANSWER("set_clocks", (void)low; keep(gpu, "clock", high))
int nvmlDeviceResetGpuLockedClocks(Gpu *gpu) ANSWER("set_clocks", keep(gpu, "clock", 1980))
int nvmlDeviceGetTotalEnergyConsumption(Gpu *gpu, unsigned long long *mj) ANSWER("energy", *mj = millijoules(gpu))
int nvmlDeviceGetPowerUsage(Gpu *gpu, unsigned *mw) ANSWER("power", *mw = (unsigned)(1e3 * average(gpu)))
int nvmlDeviceGetTemperature(Gpu *gpu, int sensor, unsigned *c) ANSWER("temperature", (void)sensor; *c = (unsigned)gpu->temperature)
int nvmlDeviceGetClockInfo(Gpu *gpu, int type, unsigned *mhz) ANSWER("clocks", *mhz = type == 1 ? (unsigned)kept(gpu, "clock", 1980) : 2619)
int nvmlDeviceGetCurrentClocksThrottleReasons(Gpu *gpu, unsigned long long *mask) ANSWER("reasons", *mask = (unsigned long long)gpu->throttle)

int nvmlDeviceGetSamples(Gpu *gpu, int type, unsigned long long since_us, int *value_type, unsigned *n, Sample *samples) {
  int code = trouble(gpu, "samples");
  if (code || type) return code ? code : 2;
  double period = gpu->sample_period, last = floor((now() - gpu->phase) / period);
  unsigned found = 0, room = samples ? *n : 0;
  double seen = floor((since_us / 1e6 - epoch() - gpu->phase) / period), kept = ceil(last - BUFFER_S / period);
  for (double k = fmax(seen, kept); k <= last; k++) {
    double t = k * period + gpu->phase;
    unsigned long long us = (unsigned long long)llround((t + epoch()) * 1e6);
    if (us <= since_us) continue;
    if (found < room) samples[found] = (Sample){us, {.ui = (unsigned)(1e3 * mean(gpu, t, gpu->sensor_window))}};
    found++;
  }
  *value_type = 1;
  *n = samples && found > room ? room : found;
  return found ? 0 : 6; /* nothing new is "not found" */
}

static int listed(Gpu *gpu, const unsigned *pids, unsigned many, unsigned *n, Process *found) {
  int code = trouble(gpu, "processes");
  unsigned room = found ? *n : 0;
  if (code) return code;
  *n = many;
  if (room < many) return 7;
  for (unsigned i = 0; i < many; i++) found[i] = (Process){pids[i], 1 << 30, 0, 0};
  return 0;
}
static int processes(Gpu *gpu, unsigned *n, Process *found) { return listed(gpu, gpu->pids, gpu->process_count, n, found); }
int nvmlDeviceGetComputeRunningProcesses_v2(Gpu *gpu, unsigned *n, Process *found) { return processes(gpu, n, found); }

#ifndef OLD_DRIVER
int nvmlDeviceGetComputeRunningProcesses_v3(Gpu *gpu, unsigned *n, Process *found) { return processes(gpu, n, found); }
int nvmlDeviceGetMPSComputeRunningProcesses_v3(Gpu *gpu, unsigned *n, Process *found) {
  return listed(gpu, gpu->clients, gpu->client_count, n, found);
}
typedef struct { unsigned version; int sensor, celsius; } Temperature;
int nvmlDeviceGetTemperatureV(Gpu *gpu, Temperature *t) ANSWER("temperaturev", t->celsius = (int)gpu->temperature)
int nvmlDeviceGetCurrentClocksEventReasons(Gpu *gpu, unsigned long long *mask) ANSWER("reasons", *mask = (unsigned long long)gpu->throttle)

/* The call as a whole succeeds although entries of it fail. */
int nvmlDeviceGetFieldValues(Gpu *gpu, int n, Field *fields) {
  int lost = trouble(gpu, "fields");
  if (lost) return lost;
  for (int i = 0; i < n; i++) {
    Field *f = &fields[i];
    int of_module = f->field == 186 && f->scope == 1 && gpu->module_watts > 0;
    int known = of_module || (f->scope == 0 && (f->field == 83 || f->field == 186));
    f->result = !known ? 3 : of_module ? 0 : trouble(gpu, f->field == 83 ? "field83" : "field186");
    f->type = f->field == 83 ? 3 : 1;
    if (f->field == 83) f->value.ull = millijoules(gpu);
    else f->value.ui = (unsigned)(1e3 * (of_module ? gpu->module_watts : instant(gpu)));
  }
  return 0;
}
#endif
