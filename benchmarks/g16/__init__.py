"""G16-EfficientNet beside EfficientNet, trained alike: accuracy, speed of training, latency. Run as a module.

Six arms: three networks of one level (batch norm with depthwise convolutions; groups of 16 with four-group norm; groups
of 16 with one-group norm and Proxy Norm), each trained in two ways (at the size that is served; at about half of its
pixels and then fine-tuned). Everything else of the recipe is the same. The figures go into one JSON file, and the
tables of `docs/g16.md` are made from that.

Accuracy does not depend on the machine; the times do, and other work disturbs them. So arms are trained one after the
other, for as long as it takes, and times are taken afterwards in short turns that hit all arms alike.
"""
