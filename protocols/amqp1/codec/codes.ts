/** Wire constants of AMQP 1.0: type constructors (part 1), descriptors and enumerations (parts 2 to 5). */

/** Type constructors. The high nibble gives the width: 4: 0, 5: 1, 6: 2, 7: 4, 8: 8, 9: 16, a|c|e: length 1, b|d|f: length 4. */
export const CODE = {
  DESCRIBED: 0x00,
  NULL: 0x40,
  TRUE: 0x41,
  FALSE: 0x42,
  UINT0: 0x43,
  ULONG0: 0x44,
  LIST0: 0x45,
  UBYTE: 0x50,
  BYTE: 0x51,
  SMALL_UINT: 0x52,
  SMALL_ULONG: 0x53,
  SMALL_INT: 0x54,
  SMALL_LONG: 0x55,
  BOOLEAN: 0x56,
  USHORT: 0x60,
  SHORT: 0x61,
  UINT: 0x70,
  INT: 0x71,
  FLOAT: 0x72,
  CHAR: 0x73,
  DECIMAL32: 0x74,
  ULONG: 0x80,
  LONG: 0x81,
  DOUBLE: 0x82,
  TIMESTAMP: 0x83,
  DECIMAL64: 0x84,
  DECIMAL128: 0x94,
  UUID: 0x98,
  BINARY8: 0xa0,
  STRING8: 0xa1,
  SYMBOL8: 0xa3,
  BINARY32: 0xb0,
  STRING32: 0xb1,
  SYMBOL32: 0xb3,
  LIST8: 0xc0,
  MAP8: 0xc1,
  LIST32: 0xd0,
  MAP32: 0xd1,
  ARRAY8: 0xe0,
  ARRAY32: 0xf0,
} as const;

export const PERFORMATIVE = {
  OPEN: 0x10,
  BEGIN: 0x11,
  ATTACH: 0x12,
  FLOW: 0x13,
  TRANSFER: 0x14,
  DISPOSITION: 0x15,
  DETACH: 0x16,
  END: 0x17,
  CLOSE: 0x18,
} as const;

export const SASL = {
  MECHANISMS: 0x40,
  INIT: 0x41,
  CHALLENGE: 0x42,
  RESPONSE: 0x43,
  OUTCOME: 0x44,
} as const;

export const SASL_CODE = { OK: 0, AUTH: 1, SYS: 2, SYS_PERM: 3, SYS_TEMP: 4 } as const;

export const DELIVERY_STATE = {
  RECEIVED: 0x23,
  ACCEPTED: 0x24,
  REJECTED: 0x25,
  RELEASED: 0x26,
  MODIFIED: 0x27,
  DECLARED: 0x33,
  TRANSACTIONAL: 0x34,
} as const;

export const TERMINUS = { SOURCE: 0x28, TARGET: 0x29, COORDINATOR: 0x30 } as const;

export const TRANSACTION = { DECLARE: 0x31, DISCHARGE: 0x32 } as const;

export const LIFETIME = {
  DELETE_ON_CLOSE: 0x2b,
  DELETE_ON_NO_LINKS: 0x2c,
  DELETE_ON_NO_MESSAGES: 0x2d,
  DELETE_ON_NO_LINKS_OR_MESSAGES: 0x2e,
} as const;

export const SECTION = {
  HEADER: 0x70,
  DELIVERY_ANNOTATIONS: 0x71,
  MESSAGE_ANNOTATIONS: 0x72,
  PROPERTIES: 0x73,
  APPLICATION_PROPERTIES: 0x74,
  DATA: 0x75,
  SEQUENCE: 0x76,
  VALUE: 0x77,
  FOOTER: 0x78,
} as const;

export const ERROR_DESCRIPTOR = 0x1d;

export const FRAME_TYPE = { AMQP: 0, SASL: 1 } as const;

/** Symbolic descriptors, for peers that do not use the numbers. */
export const DESCRIPTOR_NAMES: ReadonlyMap<string, number> = new Map([
  ["amqp:open:list", 0x10],
  ["amqp:begin:list", 0x11],
  ["amqp:attach:list", 0x12],
  ["amqp:flow:list", 0x13],
  ["amqp:transfer:list", 0x14],
  ["amqp:disposition:list", 0x15],
  ["amqp:detach:list", 0x16],
  ["amqp:end:list", 0x17],
  ["amqp:close:list", 0x18],
  ["amqp:error:list", 0x1d],
  ["amqp:received:list", 0x23],
  ["amqp:accepted:list", 0x24],
  ["amqp:rejected:list", 0x25],
  ["amqp:released:list", 0x26],
  ["amqp:modified:list", 0x27],
  ["amqp:source:list", 0x28],
  ["amqp:target:list", 0x29],
  ["amqp:delete-on-close:list", 0x2b],
  ["amqp:delete-on-no-links:list", 0x2c],
  ["amqp:delete-on-no-messages:list", 0x2d],
  ["amqp:delete-on-no-links-or-messages:list", 0x2e],
  ["amqp:coordinator:list", 0x30],
  ["amqp:declare:list", 0x31],
  ["amqp:discharge:list", 0x32],
  ["amqp:declared:list", 0x33],
  ["amqp:transactional-state:list", 0x34],
  ["amqp:sasl-mechanisms:list", 0x40],
  ["amqp:sasl-init:list", 0x41],
  ["amqp:sasl-challenge:list", 0x42],
  ["amqp:sasl-response:list", 0x43],
  ["amqp:sasl-outcome:list", 0x44],
  ["amqp:header:list", 0x70],
  ["amqp:delivery-annotations:map", 0x71],
  ["amqp:message-annotations:map", 0x72],
  ["amqp:properties:list", 0x73],
  ["amqp:application-properties:map", 0x74],
  ["amqp:data:binary", 0x75],
  ["amqp:amqp-sequence:list", 0x76],
  ["amqp:amqp-value:*", 0x77],
  ["amqp:footer:map", 0x78],
]);
