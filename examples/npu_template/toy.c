/* A toy accelerator, and all that its driver needs. Copy it and put a device in the place of toy_compute.
   Its commands are one byte k, and it computes y = x xor k for one input and one output. */
#include "onnxc_npu.h"
#include <stdlib.h>
#include <string.h>

typedef struct toy_model {
  uint8_t key;
  uint64_t bytes;
  uint8_t *buffers[2];
} toy_model;

static void toy_compute(const toy_model *m) {
  uint64_t i;
  for (i = 0; i < m->bytes; i++) m->buffers[1][i] = m->buffers[0][i] ^ m->key;
}

static onnxc_npu_status query(void *self, onnxc_npu_caps *out) {
  (void)self;
  out->npu_abi = ONNXC_NPU_ABI;
  out->max_inflight = 1;
  out->align = 1;
  strcpy(out->target, "toy-1");
  return ONNXC_NPU_OK;
}

static void unload(void *self, void *model) {
  toy_model *m = model;
  (void)self;
  free(m->buffers[0]);
  free(m->buffers[1]);
  free(m);
}

/* Looks at everything that the device does not check itself: what is refused here runs on the CPU. */
static onnxc_npu_status load(void *self, const onnxc_region *r, void **out) {
  const onnxc_region_port *p = onnxc_region_port_at(r, 0);
  toy_model *m;
  if (r->num_ports != 2 || r->num_inputs != 1 || r->cmd_bytes != 1 || p[0].bytes != p[1].bytes) return ONNXC_NPU_E_INVAL;
  m = calloc(1, sizeof *m);
  if (m == NULL) return ONNXC_NPU_E_NOMEM;
  m->key = *(const uint8_t *)onnxc_at(&r->cmd);
  m->bytes = p[0].bytes;
  m->buffers[0] = calloc(1, m->bytes);
  m->buffers[1] = calloc(1, m->bytes);
  if (m->buffers[0] == NULL || m->buffers[1] == NULL) {
    unload(self, m);
    return ONNXC_NPU_E_NOMEM;
  }
  *out = m;
  return ONNXC_NPU_OK;
}

static onnxc_npu_status buf_get(void *self, void *model, onnxc_npu_buf *io) {
  (void)self;
  io->host = ((toy_model *)model)->buffers[io->port];
  return ONNXC_NPU_OK;
}

static void buf_put(void *self, void *model, onnxc_npu_buf *buf) {
  (void)self, (void)model, (void)buf;
}

/* Where caches are not coherent: clean towards the device, invalidate from it. */
static onnxc_npu_status sync(void *self, const onnxc_npu_buf *buf, uint32_t direction) {
  (void)self, (void)buf, (void)direction;
  return ONNXC_NPU_OK;
}

/* A real device starts here; the job says what wait asks for. Here the model is the job. */
static onnxc_npu_status submit(void *self, void *model, const onnxc_npu_buf *bufs, uint32_t n, void **out) {
  (void)self, (void)bufs, (void)n;
  *out = model;
  return ONNXC_NPU_OK;
}

/* A real device waits until it is done or the clock reaches the deadline, and answers ONNXC_NPU_PENDING then. */
static onnxc_npu_status wait_(void *self, void *job, int64_t deadline_ns) {
  (void)self, (void)deadline_ns;
  toy_compute(job);
  return ONNXC_NPU_OK;
}

/* OK only if the device will not touch the buffers any more. */
static onnxc_npu_status cancel(void *self, void *job) {
  (void)self, (void)job;
  return ONNXC_NPU_E_UNSUPPORTED;
}

const onnxc_npu_backend toy_backend = {
    sizeof(onnxc_npu_backend), ONNXC_NPU_ABI, "toy", NULL, query, load, unload, buf_get, buf_put, sync, submit, wait_, cancel, NULL,
};
