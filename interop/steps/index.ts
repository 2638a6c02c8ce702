/** Every step, in the order it runs: cheap and broad ones first. */
import type { Step } from "../harness/step.ts";
import { access } from "./access.ts";
import { accessBounds } from "./access-bounds.ts";
import { browserStep } from "./browser.ts";
import { crash } from "./crash.ts";
import { crashMixed } from "./crash-mixed.ts";
import { crashMqtt, crashMqttWebSocket } from "./crash-mqtt.ts";
import { crashStomp } from "./crash-stomp.ts";
import { diskStep } from "./disk.ts";
import { goAmqp, goAmqpSuite } from "./go-amqp.ts";
import { goldenStep } from "./golden.ts";
import { goldenStomp } from "./golden-stomp.ts";
import { groupsStep } from "./groups.ts";
import { loadAmqp, loadMqtt, loadMqttWebSocket, loadStomp, loadStompWebSocket } from "./load.ts";
import { matrixSteps } from "./matrix.ts";
import { mosquittoStep } from "./mosquitto.ts";
import { mqttJsTcp, mqttJsWebSocket } from "./mqtt.ts";
import { pahoGoSuite, pahoJavaStep, pahoPythonStep } from "./paho.ts";
import { proton } from "./proton.ts";
import { qpidJms1, qpidJms2 } from "./qpid-jms.ts";
import { rheaTcp, rheaWebSocket } from "./rhea.ts";
import { rocketmqStoreStep } from "./rocketmq-store.ts";
import { slowPeers } from "./slow-peers.ts";
import { stompitStep, stompjsTcp, stompjsWebSocket, stompPy } from "./stomp.ts";
import { tlsStep } from "./tls.ts";

export const STEPS: readonly Step[] = [
  rheaTcp,
  rheaWebSocket,
  stompitStep,
  stompjsTcp,
  stompjsWebSocket,
  stompPy,
  goldenStomp,
  mqttJsTcp,
  mqttJsWebSocket,
  browserStep,
  mosquittoStep,
  pahoPythonStep,
  pahoJavaStep,
  proton,
  goAmqp,
  qpidJms1,
  qpidJms2,
  tlsStep,
  groupsStep,
  goldenStep,
  ...matrixSteps,
  access,
  accessBounds,
  goAmqpSuite,
  pahoGoSuite,
  rocketmqStoreStep,
  diskStep,
  slowPeers,
  loadAmqp,
  loadStomp,
  loadStompWebSocket,
  loadMqtt,
  loadMqttWebSocket,
  crash,
  crashStomp,
  crashMqtt,
  crashMqttWebSocket,
  crashMixed,
];
