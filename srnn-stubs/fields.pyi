from srnn.motion.fields import *
