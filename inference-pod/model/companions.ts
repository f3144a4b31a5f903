/**
 * Operators that scale a whole tensor by its largest element, so that in a batch an item's result depends on the items
 * beside it. Static quantisation (QuantizeLinear with constant scales) does not.
 */
const dynamicQuantisation = ['DynamicQuantizeLinear', 'DynamicQuantizeMatMul', 'DynamicQuantizeLSTM', 'MatMulInteger', 'ConvInteger'];

/** Why items of the model are run one by one, or undefined when they may share a batch. */
export function companionWarning(operators: ReadonlySet<string>): string | undefined {
  const found = dynamicQuantisation.filter((operator) => operators.has(operator));
  if (found.length === 0) return undefined;
  return `the model quantises dynamically (${found.join(', ')}): in a batch an item's result would depend on the items beside it, so that each is run alone; a model with static quantisation (QDQ) runs in batches`;
}
