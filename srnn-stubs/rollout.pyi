from srnn.motion.rollout import *
